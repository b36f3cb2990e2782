"""A fetcher reads committed records straight over Kafka's connections.

It keeps one request at each broker that leads a partition, in a session (KIP-227), and takes no
other before the answer was taken out: memory is bounded by an answer for each broker. A partition
that was added or moved while a request waits at its broker is read by short requests beside it,
without a session, until the next request of the session includes it.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from eventlog.clients.client import Client
from eventlog.clients.fetched_partition import Position, Waiting
from eventlog.clients.fetched_partition import Taken as Taken
from eventlog.fetch_requests import (
    NO_SESSION,
    WITHOUT_SESSION,
    Fetch,
    Fetched,
    FetchSession,
    Limits,
    PartitionAnswer,
)
from eventlog.kafka_errors import KafkaError, advice, error_of, errors
from eventlog.record_batches import Batches
from eventlog.records import TopicPartition
from runtime.waiting import within

BESIDE_WAIT_MS = 20
"""How long a request beside the session's own stays at the broker."""
LEAST_PAUSE_S = 0.02
MOST_PAUSE_S = 1.0
_SESSION_ERRORS = (70, 71, 106)
"""The broker does not know the session, or not its next epoch, or its topics were made anew."""


class _Broker:
    """Holds what is under way with one broker. ``covered``: what the session's request, that waits
    there, asks for."""

    def __init__(self, node: int, limits: Limits) -> None:
        self.node = node
        self.session = FetchSession(limits)
        self.covered: dict[TopicPartition, Position] = {}
        self.waiting: set[TopicPartition] = set()
        self.failures = 0
        self.main: asyncio.Task[None] | None = None
        self.beside: asyncio.Task[None] | None = None


def _runs(task: "asyncio.Task[None] | None") -> bool:
    return task is not None and not task.done()


def _pause_s(failures: int) -> float:
    return min(LEAST_PAUSE_S * float(2 ** min(failures, 10)), MOST_PAUSE_S)


class Fetcher(Client):
    """Reads committed records of the partitions that it follows.

    ``arrived`` is set whenever something is there to be taken. Whoever waits for it clears it,
    before looking at anything that may set it; the fetcher itself clears it in ``fetch`` alone.
    """

    def __init__(
        self,
        client: Any,
        topics: Sequence[str],
        limits: Limits,
        arrived: asyncio.Event | None = None,
    ) -> None:
        super().__init__(client)
        self.arrived = arrived or asyncio.Event()
        self._limits = limits
        self._beside = structs.replace(limits, wait_ms=min(BESIDE_WAIT_MS, limits.wait_ms))
        self._topics = set(topics)
        for topic in topics:
            self.connections.follow(topic)
        self._followed: dict[TopicPartition, Position] = {}
        self._waiting: dict[TopicPartition, Waiting] = {}
        self._brokers: dict[int, _Broker] = {}
        self._looking: asyncio.Task[None] | None = None
        self._leaders_wanted = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopped = False

    # -- what is read ------------------------------------------------------------------------------

    def follow(self, tp: TopicPartition, offset: int) -> None:
        """Reads a partition from this offset on from now on, wherever it was read before. What has
        come for another position and was not taken is dropped, now and when it comes."""
        self.leave(tp)
        self._followed[tp] = Position(tp, offset)
        if tp.topic not in self._topics:
            self._topics.add(tp.topic)
            self.connections.follow(tp.topic)

    def leave(self, tp: TopicPartition) -> None:
        """Reads a partition no more, and drops what was not taken of it."""
        self._followed.pop(tp, None)
        self._drop(tp)

    def followed(self) -> set[TopicPartition]:
        return set(self._followed)

    def position(self, tp: TopicPartition) -> int:
        """Returns the next offset that will be handed over: behind everything that was, markers and
        aborted records included."""
        return self._followed[tp].offset

    def high_watermark(self, tp: TopicPartition) -> int | None:
        """Returns the partition's end as the last answer told it; None before the first."""
        return self._followed[tp].high_watermark

    # -- asking ------------------------------------------------------------------------------------

    def request(self) -> None:
        """Begins what is to be asked of the brokers, and waits for nothing. A broker is asked again
        by itself as long as its answers are empty."""
        if self._stopped:
            return
        led, leaderless = self._led()
        if leaderless:
            self._look_for_leaders()
        for node, positions in led.items():
            broker = self._brokers.get(node)
            if broker is None:
                broker = self._brokers[node] = _Broker(node, self._limits)
            if not _runs(broker.main):
                if not broker.waiting:
                    broker.main = self._begin_task(self._read(broker))
            elif not _runs(broker.beside) and _uncovered(broker, positions):
                broker.beside = self._begin_task(self._read_beside(broker))

    def _led(self) -> tuple[dict[int, dict[TopicPartition, Position]], bool]:
        """Returns what is to be read, by leader, and whether anything has no known leader."""
        led: dict[int, dict[TopicPartition, Position]] = {}
        if self._stopped:
            return led, False
        leaderless = False
        now = asyncio.get_running_loop().time()
        for tp, position in list(self._followed.items()):
            try:
                leader = self.connections.known_leader(tp)
            except KafkaError as error:
                self._refuse(position, None, error)
                continue
            if leader is None:
                leaderless = True
            elif tp not in self._waiting and position.rests_until <= now:
                led.setdefault(leader, {})[tp] = position
        return led, leaderless

    async def _read(self, broker: _Broker) -> None:
        """Asks a broker until it has something to hand over."""
        while not broker.waiting and (positions := self._led()[0].get(broker.node)):
            broker.covered = positions
            offsets = {tp: at.offset for tp, at in positions.items()}
            answer = await self._ask(broker, broker.session.ask(offsets), positions)
            broker.covered = {}
            if answer is None or answer.error_code:
                broker.session.lose()
            else:
                broker.session.answered(answer.session_id)
                self._answered(broker, answer, positions, offsets)

    async def _read_beside(self, broker: _Broker) -> None:
        """Asks for what the request that waits at the broker does not cover."""
        while _runs(broker.main):
            positions = _uncovered(broker, self._led()[0].get(broker.node, {}))
            if not positions or broker.waiting:
                return
            offsets = {tp: at.offset for tp, at in positions.items()}
            fetch = Fetch(self._beside, (NO_SESSION, WITHOUT_SESSION), offsets)
            answer = await self._ask(broker, fetch, positions, beside=True)
            if answer is not None:
                self._answered(broker, answer, positions, offsets)

    async def _ask(
        self,
        broker: _Broker,
        fetch: Fetch,
        positions: Mapping[TopicPartition, Position],
        *,
        beside: bool = False,
    ) -> Fetched | None:
        """Returns the broker's answer; None if there was none, and lets its partitions rest."""
        ask = self.connections.ask if beside else self.connections.ask_apart
        try:
            answer = await ask(broker.node, fetch)
            if answer.error_code and answer.error_code not in _SESSION_ERRORS:
                raise error_of(answer.error_code)
        except KafkaError as error:
            if advice(error) is not None:
                for position in self._still(positions.values()):
                    self._refuse(position, broker, error)
            else:
                self._rest(positions.values(), broker.failures)
                broker.failures += 1
            return None
        broker.failures = 0
        return answer

    def _answered(
        self,
        broker: _Broker,
        answer: Fetched,
        positions: Mapping[TopicPartition, Position],
        offsets: Mapping[TopicPartition, int],
    ) -> None:
        for part in answer.partitions:
            position = positions.get(part.tp)
            if position is None or self._followed.get(part.tp) is not position:
                continue
            if position.offset != offsets[part.tp] or part.tp in self._waiting:
                continue  # the same has come by the other request
            if part.error_code:
                self._failed(broker, position, part)
                continue
            position.failures = 0
            position.high_watermark = part.high_watermark
            if part.records:
                batches = Batches(part.tp.partition, part.records, part.aborted)
                self._keep(Waiting(position, batches), broker)

    def _failed(self, broker: _Broker, position: Position, part: PartitionAnswer) -> None:
        error = error_of(part.error_code)
        lasting = (errors.OffsetOutOfRangeError, errors.CorruptRecordException)
        if isinstance(error, lasting) or advice(error) is not None:
            self._refuse(position, broker, error)
        else:
            self._rest((position,), position.failures)
            position.failures += 1

    def _still(self, positions: Collection[Position]) -> Iterator[Position]:
        for position in positions:
            if self._followed.get(position.tp) is position and position.tp not in self._waiting:
                yield position

    def _rest(self, positions: Collection[Position], failures: int) -> None:
        """Asks for these again after a moment, and for their leaders before."""
        loop = asyncio.get_running_loop()
        pause_s = _pause_s(failures)
        for position in positions:
            position.rests_until = loop.time() + pause_s
        # A timer may be early by the clock's resolution.
        loop.call_later(pause_s + 0.001, self.request)
        self._look_for_leaders()

    # -- leaders -----------------------------------------------------------------------------------

    def _look_for_leaders(self) -> None:
        self._leaders_wanted = True
        if not _runs(self._looking) and not self._stopped:
            self._looking = self._begin_task(self._find_leaders())

    async def _find_leaders(self) -> None:
        """Asks for the metadata until every partition has a leader, less and less often."""
        asked = 0
        while self._leaders_wanted and not self._stopped:
            self._leaders_wanted = False
            await self.connections.refresh()
            self.request()
            await asyncio.sleep(_pause_s(asked))
            asked += 1

    # -- handing over ------------------------------------------------------------------------------

    def _keep(self, waiting: Waiting, broker: _Broker | None) -> None:
        self._waiting[waiting.of.tp] = waiting
        if broker is not None:
            broker.waiting.add(waiting.of.tp)
        self.arrived.set()

    def _drop(self, tp: TopicPartition) -> None:
        if self._waiting.pop(tp, None) is not None:
            for broker in self._brokers.values():
                broker.waiting.discard(tp)

    def _refuse(self, position: Position, broker: _Broker | None, error: KafkaError) -> None:
        if position.tp not in self._waiting:
            self._keep(Waiting(position, None, error), broker)

    def take(self, max_records: int | None = None) -> list[Taken]:
        """Returns what has come, at most so many records of all partitions together; the rest stays
        undecoded. Waits for nothing.

        Raises:
            Exception: a defect has ended the reading.
        """
        if self._failure is not None:
            raise self._failure
        taken: list[Taken] = []
        left = max_records
        for tp, waiting in list(self._waiting.items()):
            if left is not None and left <= 0:
                self.arrived.set()
                break
            position = waiting.of.offset
            found, over = waiting.take(left)
            if over:
                self._drop(tp)
                # Whoever had something comes last, if an answer can't hold something of each.
                self._followed[tp] = self._followed.pop(tp)
            else:
                self.arrived.set()
            if found.error is not None:
                self.leave(tp)
            if left is not None:
                left -= len(found.records)
            if found.error is not None or found.next_offset != position:
                taken.append(found)
        return taken

    async def fetch(self, timeout_s: float, max_records: int | None = None) -> list[Taken]:
        """Asks, and returns what comes first; nothing after the time."""
        self.arrived.clear()
        self.request()
        if not self._waiting and self._failure is None:
            try:
                await within(self.arrived.wait(), timeout_s)
            except TimeoutError:
                return []
        return self.take(max_records)

    # -- starting and stopping ---------------------------------------------------------------------

    def _begin(self) -> Any:
        return self._client.bootstrap()

    async def _end(self) -> None:
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connections.close()

    def _begin_task(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self.arrived.set()


def _uncovered(
    broker: _Broker, positions: Mapping[TopicPartition, Position]
) -> dict[TopicPartition, Position]:
    covered = broker.covered
    return {tp: at for tp, at in positions.items() if covered.get(tp) is not at}
