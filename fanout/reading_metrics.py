"""Shows in ``/metrics`` what each partner was not sent yet, and what it has not read.

One task asks at a fixed pace, however often and by whomever the page is read. It has a deadline and
bounds, and takes small steps, so that what is delivered meanwhile does not wait.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eventlog.kafka import Kafka
from fanout.reading import Clients, PartnerReading, PartnersReader, open_clients
from runtime.errors import KafkaRefused, StageStopped, Unavailable
from runtime.waiting import is_cancelled, until_stopped
from schemas.registry import Partner
from schemas.topics import LockTopics

log = logging.getLogger(__name__)

EVERY_S = 15.0
REST_TIMES = 9.0
"""It rests so many times as long as it has asked, at the least: a tenth of the time at the most."""
DEADLINE_S = 60.0
KNOWN_S = 180.0
"""What is older is shown no more: nobody knows then whether it still holds."""
MEANINGS = {
    "undelivered_events": "Events of the partner's own that it was not sent yet",
    "groups": "Consumer groups of the partner",
    "group_members": "Members of all of them together",
    "unread_records": "Records that the group which is furthest behind has not read",
    "unread_seconds": "Time since the oldest unread record was delivered; 0 if there is none",
    "unread_retained_seconds": "Time until retention may take the oldest unread record; as long as "
    "it leaves any, if there is none",
}
MOST_GROUPS = 16
MOST_EVENTS = 20_000
"""Records of the stream that are counted at once, of all partitions together."""


class _Known(msgspec.Struct, frozen=True):
    """Holds an answer. ``at``: seconds since 1970, when it came."""

    at: float
    readings: Sequence[PartnerReading]


class ReadingMetrics(Collector):
    """Keeps the last answer, and asks again. A partner that is removed leaves nothing behind."""

    def __init__(
        self, kafka: Kafka, topics: LockTopics, partners: Callable[[], Sequence[Partner]]
    ) -> None:
        self._kafka = kafka
        self._partners = partners
        self._most = max(1, MOST_EVENTS // topics.partitions)
        self._reader = PartnersReader(topics, MOST_GROUPS)
        self._known: _Known | None = None
        self._failing = False

    # -- asking ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Asks until ``stop`` is set. What can't be asked now is asked later."""
        await until_stopped(stop, self._keep_asking())

    async def _keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as connected:
            clients: Clients | None = None
            while not is_cancelled():
                started_at = loop.time()
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        if clients is None:
                            clients = await connected.enter_async_context(open_clients(self._kafka))
                        await self._ask(clients)
                except (Unavailable, KafkaRefused, StageStopped, TimeoutError) as error:
                    self._failed(error)
                    clients = None
                    await connected.aclose()
                took_s = loop.time() - started_at
                await asyncio.sleep(max(EVERY_S - took_s, REST_TIMES * took_s))

    async def _ask(self, clients: Clients) -> None:
        partners = self._partners()
        reader, entitled = self._reader, self._reader.entitled
        entitled.begin(partners)
        ends = await reader.stream_ends(clients)
        await reader.know_counts(clients, entitled.far_behind(ends, self._most))
        for stretch in entitled.stretches(ends, self._most):
            await entitled.count(clients.stream, stretch)
        readings = await reader.read(clients, partners, ends)
        self._known = _Known(time.time(), readings)
        if self._failing:
            log.info("what partners have read is known again")
        self._failing = False

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            why = str(error) or "no answer in time"
            log.warning("what partners have read is not known: %s", why)
        self._failing = True

    # -- showing -----------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Shows the last answer. Called in another thread."""
        now, known = time.time(), self._known
        age = GaugeMetricFamily("lockstream_partner_figures_age_seconds", "Age of these figures")
        gauges = {
            name: GaugeMetricFamily(f"lockstream_partner_{name}", meaning, labels=("partner",))
            for name, meaning in MEANINGS.items()
        }
        if known is not None:
            age.add_metric((), now - known.at)
            for reading in known.readings if now - known.at < KNOWN_S else ():
                for name, value in figures(reading, now).items():
                    gauges[name].add_metric((reading.partner.id,), value)
        yield from (age, *gauges.values())


def figures(reading: PartnerReading, now: float) -> dict[str, float]:
    """Returns what is shown of a partner, by name. What is not known, or has no meaning now, is
    left out."""
    oldest_ms = reading.unread.oldest_ms
    waits_s = 0.0 if oldest_ms is None else max(0.0, now - oldest_ms / 1000)
    found: dict[str, float] = {
        "groups": len(reading.groups) + reading.left_out,
        "group_members": sum(group.members for group in reading.groups),
        "unread_records": reading.unread.records,
        "unread_seconds": waits_s,
    }
    if reading.retention_ms is not None:
        found["unread_retained_seconds"] = reading.retention_ms / 1000 - waits_s
    if reading.undelivered is not None:
        found["undelivered_events"] = reading.undelivered
    return found
