"""Reads a partner's topic and proves that nothing is missing: consume.py [--count N]"""

import argparse
import os
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition


def main(count):
    timeout = float(os.environ.get("TIMEOUT", "30"))
    deadline = time.monotonic() + timeout
    topic = os.environ["PARTNER_TOPIC"]
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["PARTNER_BOOTSTRAP_SERVERS"],
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": os.environ["PARTNER_USERNAME"],
            "sasl.password": os.environ["PARTNER_PASSWORD"],
            "ssl.ca.location": os.environ.get("PARTNER_CA") or "probe",  # the system's
            "isolation.level": "read_committed",  # what was never committed has not happened
            "auto.offset.reset": "earliest",
            "group.id": f"{os.environ['PARTNER_ID']}.example",  # has to be set, is not used here
            "enable.auto.commit": False,
            "log_level": 2,  # the exceptions say enough
        }
    )
    described = consumer.list_topics(topic, timeout).topics[topic]
    if described.error:
        raise KafkaException(described.error)
    partitions = described.partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    last = dict.fromkeys(partitions, 0)  # the sequence that was last seen in each partition
    seen = 0
    while count is None or seen < count:
        message = consumer.poll(0.5)
        if message is None:
            if count is not None and time.monotonic() > deadline:
                sys.exit(f"{seen} of {count} events came within {timeout:g} s")
            continue
        if message.error():
            raise KafkaException(message.error())
        sequence = int(dict(message.headers() or []).get("sequence", -1))
        expected = last[message.partition()] + 1
        if sequence != expected:
            sys.exit(
                f"{topic}[{message.partition()}] offset {message.offset()}: "
                f"sequence {sequence} where {expected} was due: "
                + ("a repeat" if sequence < expected else "events are missing")
            )
        print(message.value().decode(), flush=True)
        last[message.partition()] = sequence
        seen += 1
    print(f"{seen} events, none missing, none twice", file=sys.stderr)
    consumer.close()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--count", type=int, help="stop after so many events (default: go on for ever)")
try:
    main(parser.parse_args().count)
except KafkaException as error:
    sys.exit(f"Kafka: {error}")
except KeyboardInterrupt:
    sys.exit(130)
