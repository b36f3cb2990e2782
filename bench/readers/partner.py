"""Plays a partner: reads its topic from the end on, and tells how old each record was when it came.

The ``userId`` of a record is the moment that its command was due. SIGTERM ends it, and it tells all
that is left. ``python -m bench.readers.partner <servers> <topic> <partitions> <ready file> <results
file>``."""

import asyncio
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.distributions import latency_numbers

POLL_MS = 200


class _Use(msgspec.Struct, rename="camel"):
    user_id: str = ""


class _Detail(msgspec.Struct):
    data: _Use


class _Envelope(msgspec.Struct):
    detail: _Detail


async def read(servers: str, topic: str, partitions: int, ready: Path, results: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False
    )
    ages: list[float] = []
    decoder = msgspec.json.Decoder(_Envelope)
    await consumer.start()
    try:
        assigned = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_end(*assigned)
        await asyncio.to_thread(ready.touch)
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            now = time.time_ns()
            for messages in batches.values():
                for message in messages:
                    stamp = decoder.decode(message.value).detail.data.user_id
                    if stamp.isdigit():
                        ages.append((now - int(stamp)) / 1e9)
            if stop.is_set() and not batches:
                break
    finally:
        await consumer.stop()
    found = msgspec.json.encode({**latency_numbers(ages), "records": len(ages)})
    await asyncio.to_thread(results.write_bytes, found)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            read(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
        )
