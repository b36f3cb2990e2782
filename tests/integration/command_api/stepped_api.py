"""The application over a real read model and a real Kafka, and a stream that the test writes: it
says when an event is seen by the tail and when it is folded in, and what happens at each await."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import msgspec
from starlette.requests import HTTPConnection

from command_api.app import Api
from command_api.commands import UseTempKeyHandler
from command_api.credentials import Authenticator, Principal
from command_api.fact_search import FactSearch
from command_api.metrics import ApiMetrics
from command_api.observation import Observation
from command_api.rate_limits import RateLimits
from command_api.recent_events import RecentEvents
from command_api.routes import Routes
from command_api.stream_view import StreamView
from eventlog.kafka import Kafka
from eventlog.publisher import FactPublisher, Published
from eventlog.records import Record
from eventlog.topic_setup import ensure_installation
from read_model.fold import CommittedEvent, Stretch
from read_model.rows import EventRow, Fate, LockRow, Position
from read_model.store import ReadModel
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import NoTracing
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.lock_facts import Actor, Fact
from schemas.parked_facts import ParkedHeaders
from schemas.topics import lock_key
from schemas.trace_context import NO_TRACE, TraceContext
from tests.examples_of import TIME

Step = Callable[[], Awaitable[object]]


class Steps:
    """What others do at a place of the code: once, the next time that it is passed."""

    def __init__(self) -> None:
        self._next: dict[str, Step] = {}

    def at(self, place: str, step: Step) -> None:
        self._next[place] = step

    async def take(self, place: str) -> None:
        step = self._next.pop(place, None)
        if step is not None:
            await step()


class SteppedReadModel(ReadModel):
    """Others take their step between an answer and whoever reads it."""

    def __init__(self, model: ReadModel, steps: Steps) -> None:
        vars(self).update(vars(model))
        self.steps = steps

    async def lock(self, lock_id: int, partition: int) -> tuple[LockRow | None, Position]:
        answer = await super().lock(lock_id, partition)
        await self.steps.take("lock")
        return answer

    async def event_at(self, event_id: UUID) -> tuple[EventRow | None, dict[int, Position]]:
        answer = await super().event_at(event_id)
        await self.steps.take("event")
        return answer

    async def fate(self, event_id: UUID) -> Fate:
        answer = await super().fate(event_id)
        await self.steps.take("fate")
        return answer


class SteppedPublisher(FactPublisher):
    """``install``: makes the topics, for those tests that publish."""

    steps: Steps
    install: Step
    last = Published(-1, -1)

    async def publish(self, fact: Fact, trace: TraceContext = NO_TRACE) -> Published:
        if self.last.offset < 0:
            await self.install()
        self.last = await super().publish(fact, trace)
        await self.steps.take("published")
        return self.last


class TrustingAuthenticator(Authenticator):
    """Believes the organisation and the key that are named."""

    def __init__(self) -> None:
        pass

    async def authenticate(self, request: HTTPConnection) -> Principal:
        org_id = request.headers.get("x-org", "acme")
        key_id = request.headers.get("x-key")
        actor = Actor(kind="service", subject="open-flow", org_id=org_id, key_id=key_id)
        return Principal(org_id, actor)


class SteppedApi:
    """``caught_up`` and ``readiness``: as the role keeps them; ``begin``: the tail's, of the
    partition of lock 7."""

    def __init__(
        self,
        settings: Settings,
        kafka: Kafka,
        model: ReadModel,
        publisher: SteppedPublisher,
        begin: int,
        rate_limits: RateLimits,
    ) -> None:
        self.settings, self.kafka, self.publisher = settings, kafka, publisher
        self.steps = publisher.steps = Steps()
        self.model = SteppedReadModel(model, self.steps)
        self.readiness = Readiness()
        self.recent = RecentEvents(
            settings.topics,
            {**dict.fromkeys(settings.topics.numbers, 0), settings.topics.partition_of(7): begin},
            self.readiness,
        )
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self.stream = StreamView(
            self.model,
            self.recent,
            settings.topics,
            self.caught_up,
            self.readiness,
            settings.answer_timeout,
        )
        self.handler = UseTempKeyHandler(
            self.stream,
            self.recent,
            publisher,
            self.readiness,
            ApiMetrics(self.readiness),
            settings.answer_timeout,
        )
        api = Api(
            TrustingAuthenticator(),
            rate_limits,
            self.handler,
            self.stream,
            FactSearch(kafka, settings.topics, 10.0),
        )
        routes = api.routes()
        app = Observation(
            Routes(routes), routes, ApiMetrics(self.readiness), NoTracing(), access_log=None
        )
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://api")

    def _partition(self, event: Event) -> int:
        return self.settings.topics.partition_of(event.lock_id)

    def see(self, event: Event, offset: int, source_offset: int | None = None) -> None:
        """The tail reads an event."""
        if source_offset is None:
            source_offset = offset
        headers = EventHeaders(
            str(event.event_id), event_type(event), event.org_id, event.version, source_offset
        )
        partition, key = self._partition(event), lock_key(event.lock_id)
        record = Record(partition, offset, 0, key, encode_event(event), headers.to_kafka())
        self._take(self.settings.topics.lock_events, record)

    def see_parked(self, lock_id: int, event_id: UUID, source_offset: int) -> None:
        """The tail reads a parked fact."""
        headers = ParkedHeaders(
            reason="organization-mismatch",
            detail="",
            source_topic="lock-facts",
            source_offset=source_offset,
            parked_at=TIME,
            event_id=str(event_id),
            lock_id=lock_id,
            org_id="acme",
        )
        partition = self.settings.topics.partition_of(lock_id)
        record = Record(partition, source_offset, 0, b"", b"", headers.to_kafka())
        self._take(self.settings.topics.parked_facts, record)

    def _take(self, topic: str, record: Record) -> None:
        self.recent.take(topic, [record])
        assert "lock-events" not in self.readiness.obstacles, "the test's record can't be read"

    async def fold(self, event: Event, offset: int, source_offset: int | None = None) -> None:
        """The projector folds an event in."""
        committed = CommittedEvent(
            offset,
            offset if source_offset is None else source_offset,
            event,
            encode_event(event),
        )
        stretch = Stretch(self._partition(event), offset, offset + 1, events=[committed])
        await self.model.apply([stretch])

    async def use(
        self,
        lock_id: int = 7,
        temp_key: str = "key-1",
        key: str | None = None,
        headers: Mapping[str, str] = {},
        user: str | None = "user-1",
    ) -> httpx.Response:
        given = {**({"Idempotency-Key": key} if key else {}), **headers}
        body = {"tempKeyUuid": temp_key, "userId": user}
        return await self.client.post(f"/locks/{lock_id}/use-temp-key", json=body, headers=given)

    async def get(self, path: str, org_id: str = "acme") -> httpx.Response:
        return await self.client.get(path, headers={"X-Org": org_id})


@asynccontextmanager
async def stepped_api(
    settings: Settings,
    kafka: Kafka,
    model: ReadModel,
    *,
    begin: int = 0,
    answer_timeout: float = 10.0,
    rate_limits: RateLimits | None = None,
) -> AsyncIterator[SteppedApi]:
    chosen = msgspec.structs.replace(settings, answer_timeout=answer_timeout)
    publisher = SteppedPublisher(
        kafka, settings.topics.lock_facts, settings.partitions, 10.0, NoTracing()
    )

    async def install() -> None:
        await ensure_installation(kafka, settings)

    publisher.install = install
    limits = RateLimits(0, 0, 60) if rate_limits is None else rate_limits
    api = SteppedApi(chosen, kafka, model, publisher, begin, limits)
    try:
        yield api
    finally:
        await api.client.aclose()
        await publisher.close()
