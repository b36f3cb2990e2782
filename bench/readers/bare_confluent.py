"""Does the same as ``bare_aiokafka`` with confluent-kafka, which is librdkafka, written in C.
``python -m bench.readers.bare_confluent <servers> <topic>``."""

import sys

from confluent_kafka import Consumer, TopicPartition

BATCH = 10_000
POLL_S = 0.1
TIMEOUT_S = 10.0


def read(servers: str, topic: str) -> int:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    try:
        numbers = sorted(consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions)
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), TIMEOUT_S)[1]
            for number in numbers
        }
        # It tells the high watermark; what is open behind it would never come. The bench stops
        # all writers first.
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        count = 0
        while not _is_done(consumer, topic, ends):
            count += sum(1 for message in consumer.consume(BATCH, POLL_S) if not message.error())
        return count
    finally:
        consumer.close()


def _is_done(consumer: Consumer, topic: str, ends: dict[int, int]) -> bool:
    positions = consumer.position([TopicPartition(topic, number) for number in ends])
    return all(ends[p.partition] == 0 or p.offset >= ends[p.partition] for p in positions)


if __name__ == "__main__":
    print(read(sys.argv[1], sys.argv[2]))
