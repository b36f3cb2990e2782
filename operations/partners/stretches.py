"""Reads which stretch of ``lock-events`` is meant, by its two ends."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from eventlog.clients.offsets_client import OffsetsClient
from operations.shared.installation import Installation
from operations.shared.start_points import NOW, START_HELP, read_start, start_offsets
from runtime.errors import ConfigurationError
from schemas.topics import LockTopics

OFFSETS = "offsets:"
STRETCH_HELP = START_HELP.removesuffix(".") + ", or in each (offsets:12,0,7)."
_LIST = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})*\Z")


class Stretch(msgspec.Struct, frozen=True):
    """Says for each partition where a stretch begins, and the first offset that it leaves out."""

    begin: tuple[int, ...]
    end: tuple[int, ...]


async def read_stretch(here: Installation, begin: str, end: str = NOW) -> Stretch:
    """Reads a stretch of what is there now.

    Raises:
        ConfigurationError: an end of it can't be read, or there is nothing in it.
        KafkaUnavailable: the broker can't be reached in time.
    """
    topics = here.settings.topics
    async with here.kafka.offsets_client() as client:
        first = await _offsets(client, topics, "--from", begin)
        last = await _offsets(client, topics, "--to", end)
    stretch = Stretch(
        tuple(first[p] for p in topics.numbers),
        tuple(max(first[p], last[p]) for p in topics.numbers),
    )
    if stretch.begin == stretch.end:
        raise ConfigurationError(f"there is nothing from {begin.strip()} up to {end.strip()}")
    return stretch


async def _offsets(
    client: OffsetsClient, topics: LockTopics, option: str, text: str
) -> Mapping[int, int]:
    text = text.strip()
    if not text.startswith(OFFSETS):
        start = read_start(option, text, datetime.now(UTC))
        return await start_offsets(client, topics.lock_events, topics.numbers, start, option)
    named = read_offsets(option, text, topics.partitions)
    ends = await client.high_watermarks(topics.lock_events, topics.numbers)
    for p, offset in enumerate(named):
        if offset > ends[p]:
            raise ConfigurationError(
                f"{option}: partition {p} of {topics.lock_events} ends at {ends[p]}, before "
                f"{offset}"
            )
    return dict(enumerate(named))


def read_offsets(option: str, text: str, partitions: int) -> list[int]:
    """Reads ``offsets:`` and an offset for each partition.

    Raises:
        ConfigurationError: it is something else.
    """
    numbers = text.removeprefix(OFFSETS).replace(" ", "")
    found = [int(n) for n in numbers.split(",")] if _LIST.match(numbers) else []
    if len(found) != partitions:
        raise ConfigurationError(
            f"{option}: {text!r} does not name {partitions} offsets, one for each partition; write "
            f"{OFFSETS}{','.join(['0'] * min(partitions, 3))}{',…' if partitions > 3 else ''}"
        )
    return found
