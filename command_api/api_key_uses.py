"""Keeps when API keys were last used: requests note that, and a task writes it later."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from eventlog.kafka import Kafka
from eventlog.registry import Registry, write_entries
from runtime.errors import KafkaRefused, KafkaUnavailable
from runtime.waiting import first_of, within
from schemas.primitives import write_time
from schemas.registry import ApiKeyUse

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
WRITE_TIMEOUT_S = 3.0
SHOWN_TO = timedelta(minutes=1)


class ApiKeyUses:
    """Remembers the time of the last use of each key until it is written, or is no news."""

    def __init__(self, kafka: Kafka, topic: str, registry: Registry) -> None:
        self._kafka = kafka
        self._topic = topic
        self._registry = registry
        self._latest: dict[str, datetime] = {}
        self._failing = False
        self._refused = False

    def note(self, key_id: str, now: datetime) -> None:
        """Remembers a use. No request waits for that or fails by it."""
        self._latest[key_id] = now

    async def run(self, stop: asyncio.Event) -> None:
        """Writes what was noted until ``stop`` is set, and then once more."""
        while not stop.is_set():
            await first_of(stop, timeout_s=WRITE_EVERY_S)
            await self._write()

    async def _write(self) -> None:
        latest, self._latest = self._latest, {}
        news = news_of(latest, self._registry)
        if not news or self._refused:
            return
        try:
            await within(write_entries(self._kafka, self._topic, news), WRITE_TIMEOUT_S)
        except KafkaRefused as error:
            log.warning("uses of API keys are not written any more: %s", error)
            self._refused = True
        except (KafkaUnavailable, TimeoutError) as error:
            self._latest = {**latest, **self._latest}
            if not self._failing:
                log.warning("uses of API keys can't be written, and will be later: %r", error)
            self._failing = True
        else:
            self._failing = False


def news_of(latest: Mapping[str, datetime], registry: Registry) -> list[ApiKeyUse]:
    """Returns the uses that are a minute or more after what the registry knows, from any replica.
    Times are compared as they are written: all in one form, in UTC."""
    news = []
    for key_id, used_at in sorted(latest.items()):
        before = registry.api_key_use(key_id)
        if before is None or before.last_used_at <= write_time(used_at - SHOWN_TO):
            news.append(ApiKeyUse(key_id=key_id, last_used_at=write_time(used_at)))
    return news
