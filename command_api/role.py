"""The command API's composition root."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from command_api.app import Api, make_app
from command_api.commands import UseTempKeyHandler
from command_api.credentials import Doorkeeper
from command_api.docs_page import docs_routes
from command_api.door import Door
from command_api.issuer_keys import IssuerKeys, open_issuer_keys, watch_issuers
from command_api.key_uses import KeyUses
from command_api.listening import check_listening, listen, names
from command_api.lookups import Lookups
from command_api.metrics import ApiMetrics
from command_api.observation import Observed
from command_api.pending_facts import PendingFacts
from command_api.rate_limits import RateLimits
from command_api.recent_events import RecentEvents
from command_api.tokens import TokenChecker
from eventlog.kafka import Kafka, beginnings, connected
from eventlog.publisher import FactPublisher
from eventlog.registry import Registry, registry_tail
from eventlog.tail import Tail
from eventlog.topic_setup import ensure_installation
from eventlog.watch import watch_kafka
from read_model.database import Database, read_model_url
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from runtime.health import (
    everybody,
    health_routes,
    metrics_route,
    serve_health,
    this_machine,
)
from runtime.issuers import read_issuers
from runtime.logs import AccessLog
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from runtime.waiting import first_of

log = logging.getLogger(__name__)

CATCHING_UP = "catching up"
"""Not the name under which a record that can't be read stays: that is never cleared."""
SEARCH_S = 2.0


async def run_api(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until ``stop`` is set, then answers what is under way.

    Raises:
        ConfigurationError: no issuers, a JWKS file that can't be used, the port is taken, or TLS or
            the proxies are set wrongly.
        Unavailable: Kafka or the database can't be reached at the start.
    """
    await check_listening(settings)
    issuers = await asyncio.to_thread(read_issuers, settings.jwt_issuers)
    async with (
        tracing_of(settings, "lockstream-api") as tracing,
        open_issuer_keys(issuers, settings) as issuer_keys,
    ):
        kafka = Kafka(settings, "lockstream-api")
        await ensure_installation(kafka, settings)
        read_model = ReadModel(
            Database(read_model_url(settings), settings.read_model_timeout), settings.partitions
        )
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
            await _serve(settings, stop, kafka, issuer_keys, read_model, publisher, tracing)
        finally:
            await publisher.close()
            await read_model.close()


async def _serve(
    settings: Settings,
    stop: asyncio.Event,
    kafka: Kafka,
    issuer_keys: Sequence[IssuerKeys],
    read_model: ReadModel,
    publisher: FactPublisher,
    tracing: Tracing,
) -> None:
    readiness = Readiness()
    readiness.block(CATCHING_UP, "catching up")
    metrics = ApiMetrics(readiness)
    topics = settings.topics
    folded = await read_model.positions(LOCK_EVENTS)
    parked = await read_model.positions(PARKED_FACTS)
    begin = _next_offsets(folded, settings.partitions)
    recent = RecentEvents(topics, begin, readiness)
    parked_begin = await _retained(
        kafka, topics.parked_facts, _next_offsets(parked, settings.partitions)
    )
    tail = Tail(kafka, {topics.lock_events: begin}, recent.take)
    # By a connection of its own: each fetch costs by the partitions that it asks for, and most
    # answers are events.
    parked_tail = Tail(kafka, {topics.parked_facts: parked_begin}, recent.take)
    registry = Registry()
    followed = registry_tail(kafka, topics.registry, registry)
    lookups = Lookups(read_model, recent, settings.partitions, tail.caught_up, readiness)
    handler = UseTempKeyHandler(
        lookups, recent, publisher, readiness, metrics, settings.answer_timeout
    )
    uses = KeyUses(kafka, topics.registry, registry)
    tokens = TokenChecker(issuer_keys, settings.jwt_max_lifetime)
    api = Api(
        Doorkeeper(tokens, registry, uses),
        RateLimits(
            settings.organization_rate_limit, settings.key_rate_limit, settings.rate_limit_window
        ),
        handler,
        lookups,
        read_model,
        PendingFacts(kafka, topics.lock_facts, settings.partitions, SEARCH_S),
        settings.partitions,
        settings.answer_timeout,
    )

    def details() -> dict[str, object]:
        return {"inFlight": door.in_flight, "waiting": recent.waiting}

    # In a thread: it reads our own version and the page's files.
    docs = await asyncio.to_thread(docs_routes, settings)
    routes = [*api.routes(), *health_routes(readiness, details), *docs]
    if settings.api_metrics != "off":
        admits = this_machine if settings.api_metrics == "local" else everybody
        routes.append(metrics_route(metrics, admits))
    door = Door(
        make_app(routes),
        settings.max_in_flight,
        settings.receipt_timeout,
        names(settings.trusted_hosts),
    )
    metrics.watch(in_flight=lambda: door.in_flight, waiting=lambda: recent.waiting)
    for keys in issuer_keys:
        metrics.watch_issuer(keys.issuer.issuer, keys.age_s)
    access_log = AccessLog(_write_to_stderr) if settings.access_log else None
    served = Observed(door, routes, metrics, tracing, access_log)
    ended = asyncio.Event()

    async def serve() -> None:
        # Before the registry is read, every key would be refused as unknown.
        await first_of(followed.caught_up, stop)
        await listen(served, settings, stop)
        if access_log is not None:
            access_log.flush()
        ended.set()

    async def announce() -> None:
        await tail.caught_up.wait()
        await parked_tail.caught_up.wait()
        await followed.caught_up.wait()
        readiness.clear(CATCHING_UP)

    watched = (topics.lock_facts, topics.lock_events)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tail.run(ended))
        tasks.create_task(parked_tail.run(ended))
        tasks.create_task(followed.run(ended))
        tasks.create_task(uses.run(ended))
        for keys in issuer_keys:
            tasks.create_task(keys.follow(ended))
        tasks.create_task(watch_issuers(issuer_keys, readiness, ended))
        tasks.create_task(lookups.watch(ended))
        tasks.create_task(watch_kafka(kafka, watched, readiness, ended))
        if settings.api_health_port:
            tasks.create_task(
                serve_health(
                    settings.health_host,
                    settings.api_health_port,
                    readiness,
                    details,
                    metrics,
                    ended,
                    "LOCKSTREAM_API_HEALTH_PORT",
                )
            )
        announcing = tasks.create_task(announce())
        serving = tasks.create_task(serve())
        await serving
        announcing.cancel()


def _write_to_stderr(lines: bytes) -> None:
    # Below the text layer: the lines are bytes already.
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


async def _retained(kafka: Kafka, topic: str, offsets: dict[int, int]) -> dict[int, int]:
    """The offsets, or later ones where retention has deleted what stood there."""
    async with connected(kafka.offsets_client()) as client:
        first = await beginnings(client, topic, list(offsets))
    return {p: max(offset, first[p]) for p, offset in offsets.items()}


def _next_offsets(positions: dict[int, Position], partitions: int) -> dict[int, int]:
    return {p: positions.get(p, Position()).next_offset for p in range(partitions)}
