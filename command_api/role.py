"""Puts the command API together: one function for each part of it."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from command_api.admission import Admission, InFlight
from command_api.api_key_uses import ApiKeyUses
from command_api.app import Api
from command_api.commands import UseTempKeyHandler
from command_api.credentials import Authenticator
from command_api.docs_page import docs_routes
from command_api.fact_search import FactSearch
from command_api.issuer_keys import IssuerKeys, open_issuer_keys, watch_issuers
from command_api.listening import check_listening, listen, names
from command_api.metrics import ApiMetrics
from command_api.observation import Observation
from command_api.rate_limits import RateLimits
from command_api.recent_events import RecentEvents
from command_api.routes import Routes
from command_api.stream_view import StreamView
from command_api.tokens import TokenChecker
from eventlog.kafka import Kafka
from eventlog.publisher import FactPublisher
from eventlog.registry import Registry, registry_tail
from eventlog.tail import Tail
from eventlog.topic_setup import ensure_installation
from eventlog.watch import watch_kafka
from read_model.opening import open_read_model
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from runtime.health import (
    Details,
    everybody,
    health_routes,
    metrics_route,
    serve_health,
    this_machine,
)
from runtime.issuers import read_issuers
from runtime.logs import AccessLog
from runtime.process import Companion, run_beside
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from runtime.waiting import first_of
from schemas.topics import LockTopics

log = logging.getLogger(__name__)

CATCHING_UP = "catching up"
"""An obstacle of its own: the one that names a record that can't be read is never cleared."""
SEARCH_S = 2.0
HEALTH_PORT_VARIABLE = "LOCKSTREAM_API_HEALTH_PORT"


async def run_api(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until ``stop`` is set, then answers what is under way.

    Raises:
        ConfigurationError: no issuers, a JWKS file that can't be used, the port is taken, or TLS or
            the proxies are set wrongly.
        Unavailable: Kafka or the database can't be reached at the start.
    """
    await check_listening(settings)
    async with _open(settings) as shared:
        await _serve(shared, stop)


@dataclass(frozen=True)
class _Shared:
    """Holds what the parts of the API have in common, open for as long as the role runs."""

    settings: Settings
    tracing: Tracing
    issuer_keys: Sequence[IssuerKeys]
    kafka: Kafka
    read_model: ReadModel
    publisher: FactPublisher
    readiness: Readiness
    metrics: ApiMetrics


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[_Shared]:
    issuers = await asyncio.to_thread(read_issuers, settings.jwt_issuers)
    async with (
        tracing_of(settings, "lockstream-api") as tracing,
        open_issuer_keys(issuers, settings) as keys,
    ):
        readiness = Readiness()
        metrics = ApiMetrics(readiness)
        for one in keys:
            metrics.watch_issuer(one.issuer.issuer, one.age_s)
        kafka = Kafka(settings, "lockstream-api")
        await ensure_installation(kafka, settings)
        read_model = open_read_model(settings)
        await read_model.prepare()
        publisher = FactPublisher(
            kafka,
            settings.topics.lock_facts,
            settings.partitions,
            settings.publish_timeout,
            tracing,
        )
        await publisher.start()
        try:
            yield _Shared(settings, tracing, keys, kafka, read_model, publisher, readiness, metrics)
        finally:
            await publisher.close()
            await read_model.close()


@dataclass(frozen=True)
class _FollowedLog:
    """Holds the tails that the API follows, and what it remembers of them."""

    events: Tail
    parked: Tail
    registry_records: Tail
    recent: RecentEvents
    registry: Registry


async def _follow_log(shared: _Shared) -> _FollowedLog:
    """Makes the tails, which begin where the read model ends.

    Events and parked facts go to ``RecentEvents.take``, which wakes the commands that wait for
    them.
    """
    kafka, topics = shared.kafka, shared.settings.topics
    folded = await shared.read_model.positions(LOCK_EVENTS)
    parked = await shared.read_model.positions(PARKED_FACTS)
    begin = _next_offsets(folded, topics)
    parked_begin = await _retained(kafka, topics.parked_facts, _next_offsets(parked, topics))
    recent = RecentEvents(topics, begin, shared.readiness)
    registry = Registry()
    return _FollowedLog(
        Tail(kafka, {topics.lock_events: begin}, recent.take),
        # By a connection of its own: each fetch costs by the partitions that it asks for, and most
        # answers are events.
        Tail(kafka, {topics.parked_facts: parked_begin}, recent.take),
        registry_tail(kafka, topics.registry, registry),
        recent,
        registry,
    )


async def _serve(shared: _Shared, stop: asyncio.Event) -> None:
    settings, readiness = shared.settings, shared.readiness
    readiness.block(CATCHING_UP, "catching up")
    log = await _follow_log(shared)
    caught_up, timeout_s = log.events.caught_up, settings.answer_timeout
    stream = StreamView(
        shared.read_model, log.recent, settings.topics, caught_up, readiness, timeout_s
    )
    uses = ApiKeyUses(shared.kafka, settings.topics.registry, log.registry)
    in_flight = InFlight(settings.max_in_flight)

    def details() -> dict[str, object]:
        return {"inFlight": in_flight.count, "waiting": log.recent.waiting}

    api = _api(shared, log, stream, uses)
    # In a thread: it reads our own version and the page's files.
    docs = await asyncio.to_thread(docs_routes, settings)
    routes = [*api.routes(), *_pages(shared, details), *docs]
    access_log = AccessLog(_write_to_stderr) if settings.access_log else None
    app = _layers(shared, routes, in_flight, access_log)
    shared.metrics.watch(in_flight=lambda: in_flight.count, waiting=lambda: log.recent.waiting)

    async def serve() -> None:
        try:
            # Before the registry is read, every key would be refused as unknown.
            await first_of(log.registry_records.caught_up, stop)
            await listen(app, settings, stop)
        finally:
            if access_log is not None:
                access_log.flush()

    announce = partial(_announce, log, readiness)
    companions = _companions(shared, log, details)
    await run_beside(serve, *companions, stream.watch, uses.run, announce)


def _api(shared: _Shared, log: _FollowedLog, stream: StreamView, uses: ApiKeyUses) -> Api:
    settings = shared.settings
    tokens = TokenChecker(shared.issuer_keys, settings.jwt_max_lifetime)
    limits = RateLimits(
        settings.organization_rate_limit, settings.key_rate_limit, settings.rate_limit_window
    )
    readiness, metrics, timeout_s = shared.readiness, shared.metrics, settings.answer_timeout
    handler = UseTempKeyHandler(stream, log.recent, shared.publisher, readiness, metrics, timeout_s)
    search = FactSearch(shared.kafka, settings.topics, SEARCH_S)
    return Api(Authenticator(tokens, log.registry, uses), limits, handler, stream, search)


def _pages(shared: _Shared, details: Details) -> list[BaseRoute]:
    """Makes the routes that need no credentials: ``/livez``, ``/readyz``, ``/metrics``."""
    pages: list[BaseRoute] = [*health_routes(shared.readiness, details)]
    if shared.settings.api_metrics != "off":
        admits = this_machine if shared.settings.api_metrics == "local" else everybody
        pages.append(metrics_route(shared.metrics, admits))
    return pages


def _layers(
    shared: _Shared, routes: list[BaseRoute], in_flight: InFlight, access_log: AccessLog | None
) -> ASGIApp:
    """Puts the ASGI layers around the routes. A request meets the last one first."""
    settings = shared.settings
    hosts = names(settings.trusted_hosts)
    admission = Admission(Routes(routes), in_flight, settings.receipt_timeout, hosts)
    return Observation(admission, routes, shared.metrics, shared.tracing, access_log)


def _companions(shared: _Shared, log: _FollowedLog, details: Details) -> Iterator[Companion]:
    """Yields what runs beside the requests."""
    settings, readiness = shared.settings, shared.readiness
    for tail in (log.events, log.parked, log.registry_records):
        yield tail.run
    for keys in shared.issuer_keys:
        yield keys.follow
    yield partial(watch_issuers, shared.issuer_keys, readiness)
    watched = (settings.topics.lock_facts, settings.topics.lock_events)
    yield partial(watch_kafka, shared.kafka, watched, readiness)
    if settings.api_health_port:
        yield partial(
            serve_health,
            settings.health_host,
            settings.api_health_port,
            readiness,
            details,
            shared.metrics,
            port_variable=HEALTH_PORT_VARIABLE,
        )


async def _announce(log: _FollowedLog, readiness: Readiness, ended: asyncio.Event) -> None:
    """Clears the obstacle of the start once all tails have read what was there then."""
    for tail in (log.events, log.parked, log.registry_records):
        await first_of(tail.caught_up, ended)
    if not ended.is_set():
        readiness.clear(CATCHING_UP)


def _write_to_stderr(lines: bytes) -> None:
    # Below the text layer: the lines are bytes already.
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


async def _retained(kafka: Kafka, topic: str, offsets: dict[int, int]) -> dict[int, int]:
    """Returns the offsets, or later ones where retention has deleted what stood there."""
    async with kafka.offsets_client() as client:
        first = await client.beginnings(topic, list(offsets))
    return {p: max(offset, first[p]) for p, offset in offsets.items()}


def _next_offsets(positions: dict[int, Position], topics: LockTopics) -> dict[int, int]:
    return {p: positions.get(p, Position()).next_offset for p in topics.numbers}
