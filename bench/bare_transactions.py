"""Makes transactions of one record each, one after the other, with one producer for each partition.

That is the least that an exactly-once stage on this client and broker has to do when there is
nothing to put together.

python -m bench.bare_transactions <servers> <topic> <producers> <seconds> prints how many there
were, and the CPU seconds that this process took for them."""

import asyncio
import sys
import time
from uuid import uuid4

import msgspec
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.producer import sender

from eventlog.kafka import CONCURRENT_TRANSACTIONS_BACKOFF_S

VALUE = b"x" * 400


class Done(msgspec.Struct, frozen=True):
    transactions: int
    cpu_seconds: float


async def transact(servers: str, topic: str, producers: int, seconds: float) -> Done:
    sender.BACKOFF_OVERRIDE = CONCURRENT_TRANSACTIONS_BACKOFF_S
    run = uuid4().hex
    started = [
        AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"{run}-{number}")
        for number in range(producers)
    ]
    await asyncio.gather(*(producer.start() for producer in started))
    end, cpu = time.perf_counter() + seconds, time.process_time()
    counts = await asyncio.gather(
        *(_repeat(producer, topic, number, end) for number, producer in enumerate(started))
    )
    cpu = time.process_time() - cpu
    await asyncio.gather(*(producer.stop() for producer in started))
    return Done(sum(counts), cpu)


async def _repeat(producer: AIOKafkaProducer, topic: str, partition: int, end: float) -> int:
    done = 0
    while time.perf_counter() < end:
        await producer.begin_transaction()
        sent = await producer.send(topic, VALUE, partition=partition)
        await sent
        await producer.commit_transaction()
        done += 1
    return done


if __name__ == "__main__":
    servers, topic, producers, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(transact(servers, topic, int(producers), float(seconds)))
    print(msgspec.json.encode(done).decode())
