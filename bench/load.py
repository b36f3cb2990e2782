"""A closed-loop HTTP load generator: a number of connections, each with one request in flight.
Runs as a process of its own, so that it takes no time from the event loop that it measures.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import msgspec
import uvloop


class Plan(msgspec.Struct, frozen=True):
    """``seconds`` of load on ``in_flight`` connections, over ``locks``."""

    host: str
    port: int
    token: str
    api_key: str
    locks: tuple[int, ...]
    in_flight: int
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """Latencies in milliseconds, of the answers with status 200; ``others``: all other answers."""

    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    answers: int
    others: int


async def run(plan: Plan) -> Outcome:
    deadline = time.perf_counter() + plan.seconds
    latencies: list[float] = []
    others = 0

    async def connection(first: int) -> None:
        nonlocal others
        reader, writer = await asyncio.open_connection(plan.host, plan.port)
        count = first
        while time.perf_counter() < deadline:
            lock_id = plan.locks[count % len(plan.locks)]
            count += plan.in_flight + 1
            begun = time.perf_counter()
            writer.write(_request(plan, lock_id))
            status = await _read_answer(reader)
            if status == 200:
                latencies.append(time.perf_counter() - begun)
            else:
                others += 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(connection(n) for n in range(plan.in_flight)))
    took = time.perf_counter() - begun
    latencies.sort()
    return Outcome(
        per_second=len(latencies) / took,
        p50_ms=_percentile(latencies, 0.50),
        p99_ms=_percentile(latencies, 0.99),
        p999_ms=_percentile(latencies, 0.999),
        answers=len(latencies),
        others=others,
    )


def _request(plan: Plan, lock_id: int) -> bytes:
    body = b'{"tempKeyUuid":"example_string","userId":"example_string"}'
    return (
        f"POST /locks/{lock_id}/use-temp-key HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n"
        f"Authorization: Bearer {plan.token}\r\nX-API-Key: {plan.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line[15:])
    if length:
        await reader.readexactly(length)
    return int(head[9:12])


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run(plan))).decode())


if __name__ == "__main__":
    main()
