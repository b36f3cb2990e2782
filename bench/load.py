"""Generates HTTP load, in a process of its own that takes no time from the loops it measures.

Closed loop: each connection has one request in flight. Open loop: requests are due at moments that
the server has no say in, and latency counts from the moment one was due: a server that stalls is
charged for all that would have come meanwhile (no coordinated omission)."""

import asyncio
import gc
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

import msgspec
import uvloop

from bench.distributions import arrivals, latency_numbers, percentile, uniform_choices, zipf_choices

CHOICES = 1 << 16
OPEN_CONNECTIONS = 256
LONGEST_ANSWER_S = 15.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Plan(msgspec.Struct, frozen=True):
    """Describes the load to make. ``rate``: requests a second of an open loop; 0: a closed loop of
    ``in_flight`` connections. ``distribution`` of the locks; ``status``: of the answers that count;
    ``stamped``: ``userId`` is the moment that the request was due, nanoseconds since 1970.
    """

    host: str
    port: int
    token: str
    api_key: str
    locks: tuple[int, ...]
    seconds: float
    in_flight: int = 1
    rate: float = 0.0
    distribution: str = "uniform"
    status: int = 200
    stamped: bool = False
    seed: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """Latencies are of answers that count; ``others``: all other answers. ``cpu_seconds``: the
    generator's own. ``sent_late_ms``: p99 of how late an open loop wrote what it could have
    written at once."""

    numbers: dict[str, float]
    statuses: dict[str, int]


class _Load:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.late: list[float] = []
        choose = zipf_choices if plan.distribution == "zipf" else uniform_choices
        self._choices = choose(CHOICES, len(plan.locks), plan.seed)
        self._next = 0
        self._requests = [_request(plan, lock_id) for lock_id in plan.locks]
        self._wall = time.time_ns() - time.perf_counter_ns()

    def request(self, due: float) -> bytes:
        self._next = (self._next + 1) & (CHOICES - 1)
        request = self._requests[self._choices[self._next]]
        if self.plan.stamped:
            return request.replace(_UNSTAMPED, b"%019d" % (self._wall + int(due * 1e9)))
        return request

    def answered(self, status: int, due: float) -> None:
        if status == self.plan.status:
            self.latencies.append(time.perf_counter() - due)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def outcome(self, took: float, cpu: float) -> Outcome:
        numbers = latency_numbers(self.latencies)
        numbers["per_second"] = len(self.latencies) / took
        numbers["answers"] = len(self.latencies)
        numbers["others"] = sum(self.statuses.values()) - len(self.latencies)
        numbers["load_cpu_share"] = cpu / took
        if self.late:
            numbers["sent_late_p99_ms"] = percentile(sorted(self.late), 0.99) * 1000
        return Outcome(numbers, {str(k): v for k, v in self.statuses.items()})


class _Connection(asyncio.Protocol):
    """Sends requests one at a time; calls ``free`` whenever it can take one."""

    def __init__(self, load: _Load, loop: "_Closed | _Open") -> None:
        self._load = load
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._due = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self.busy = True
        self._transport.write(self._load.request(due))

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            found = _LENGTH.search(received, 0, end + 2)
            length = int(found.group(1)) if found else 0
            if len(received) >= end + 4 + length:
                self._received = b""
                self.busy = False
                self._load.answered(int(received[9:12]), self._due)
                self._loop.free(self)
                return
        self._received = received

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._load.answered(0, self._due)
            self._loop.lost_answer()
        else:
            self._loop.lost_idle(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Closed:
    def __init__(self, load: _Load) -> None:
        self._seconds = load.plan.seconds
        self._until = 0.0
        self._under_way = load.plan.in_flight
        self.done = asyncio.Event()

    def begin(self, connections: Sequence[_Connection]) -> None:
        self._until = time.perf_counter() + self._seconds
        for connection in connections:
            connection.send(time.perf_counter())

    def free(self, connection: _Connection) -> None:
        now = time.perf_counter()
        if now < self._until:
            connection.send(now)
        else:
            self.lost_answer()

    def lost_idle(self, connection: _Connection) -> None:
        """Does nothing: the connection has done its part."""

    def lost_answer(self) -> None:
        self._under_way -= 1
        if self._under_way <= 0:
            self.done.set()


class _Open:
    """Sends requests when they are due, by a thread: an event loop's timers have milliseconds."""

    def __init__(self, load: _Load) -> None:
        plan = load.plan
        self._load = load
        self._due = deque(arrivals(plan.rate, plan.seconds, plan.seed))
        self._left = len(self._due)
        self._waiting: deque[float] = deque()
        self._idle: list[_Connection] = []
        self.done = asyncio.Event()

    def begin(self, connections: Sequence[_Connection]) -> None:
        started_at = time.perf_counter()
        self._due = deque(started_at + moment for moment in self._due)
        self._idle.extend(connections)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._tick, args=(loop, list(self._due)), daemon=True).start()

    def _tick(self, loop: asyncio.AbstractEventLoop, moments: Sequence[float]) -> None:
        position = 0
        while position < len(moments):
            pause = moments[position] - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            now = time.perf_counter()
            while position < len(moments) and moments[position] <= now:
                position += 1
            if self.done.is_set():
                return
            loop.call_soon_threadsafe(self._send_due)

    def _send_due(self) -> None:
        now = time.perf_counter()
        while self._due and self._due[0] <= now:
            due = self._due.popleft()
            if self._idle:
                self._load.late.append(now - due)
                self._idle.pop().send(due)
            else:
                self._waiting.append(due)

    def free(self, connection: _Connection) -> None:
        self._left -= 1
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)
        if self._left <= 0:
            self.done.set()

    def lost_idle(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def lost_answer(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.done.set()


async def run(plan: Plan) -> Outcome:
    load = _Load(plan)
    loop = asyncio.get_running_loop()
    pattern = _Open(load) if plan.rate else _Closed(load)
    connections = []
    for _ in range(OPEN_CONNECTIONS if plan.rate else plan.in_flight):
        connection = _Connection(load, pattern)
        await loop.create_connection(lambda made=connection: made, plan.host, plan.port)  # type: ignore[misc]
        connections.append(connection)
    cpu = time.process_time()
    started_at = time.perf_counter()
    pattern.begin(connections)
    try:
        async with asyncio.timeout(plan.seconds + LONGEST_ANSWER_S):
            await pattern.done.wait()
    except TimeoutError:
        load.statuses[0] = load.statuses.get(0, 0) + sum(c.busy for c in connections)
        pattern.done.set()
    took, cpu = time.perf_counter() - started_at, time.process_time() - cpu
    for connection in connections:
        connection.busy = False
        connection.close()
    return load.outcome(took, cpu)


_UNSTAMPED = b"example_string_0001"


def _request(plan: Plan, lock_id: int) -> bytes:
    body = b'{"tempKeyUuid":"example_string","userId":"%b"}' % _UNSTAMPED
    return (
        f"POST /locks/{lock_id}/use-temp-key HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\n"
        f"Authorization: Bearer {plan.token}\r\nX-API-Key: {plan.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run(plan))).decode())


if __name__ == "__main__":
    main()
