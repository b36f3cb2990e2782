"""Reads where a stretch of a topic begins: ``earliest``, ``now``, a time or an offset. Text with
two possible meanings is refused, with both ways of writing it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.clients.offsets_client import OffsetsClient
from operations.shared.durations import read_moment
from runtime.errors import ConfigurationError
from schemas.primitives import epoch_ms

EARLIEST, NOW, OFFSET = "earliest", "now", "offset:"
START_HELP = (
    "earliest, now, a time of recordedAt (2026-11-23 or 2026-11-23T10:00:00Z; UTC if it names "
    "no zone), or an offset in every partition (offset:1200)."
)
_DIGITS = re.compile(r"[0-9]+\Z")
_DAY = re.compile(r"((?:19|20|21)[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])\Z")
_EPOCH_UNITS = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
"""By number of digits, how many of the unit make a second."""
MAX_OFFSET = 2**63 - 1


class Start(msgspec.Struct, frozen=True):
    """Where to begin: ``offset``, ``moment``, or else ``word``. ``text``: how messages say it."""

    text: str
    word: str = ""
    offset: int | None = None
    moment: datetime | None = None


def read_start(option: str, text: str, now: datetime) -> Start:
    """Reads a start point.

    Raises:
        ConfigurationError: none of the words, or one with two meanings, or a time to come.
    """
    text = text.strip()
    if text in (EARLIEST, "start"):
        return Start(EARLIEST, word=EARLIEST)
    if text == NOW:
        return Start(NOW, word=NOW)
    digits = text.removeprefix(OFFSET)
    if _DIGITS.match(digits):
        if digits == text:
            _refuse_ambiguous(option, digits)
        if len(digits) > 19 or int(digits) > MAX_OFFSET:
            raise ConfigurationError(f"{option}: {digits} is beyond every offset")
        return Start(f"offset {int(digits)}", offset=int(digits))
    try:
        moment = read_moment(text)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{option}: {text!r} is none of earliest, now, a time (2026-11-23 or "
            "2026-11-23T10:00:00Z) and an offset (offset:1200)"
        ) from error
    if moment > now:
        raise ConfigurationError(
            f"{option}: there is nothing at or after {moment.isoformat()}: it is yet to come"
        )
    return Start(moment.isoformat(), moment=moment)


def _refuse_ambiguous(option: str, digits: str) -> None:
    or_offset = f"or {OFFSET}{digits} for an offset"
    day = _DAY.match(digits)
    if day is not None:
        raise ConfigurationError(
            f"{option}: {digits} may be a day; write {'-'.join(day.groups())} for that, {or_offset}"
        )
    unit = _EPOCH_UNITS.get(len(digits))
    if unit is not None:
        moment = datetime.fromtimestamp(int(digits) // unit, UTC)
        raise ConfigurationError(
            f"{option}: {digits} may be a time since 1970; write "
            f"{moment.isoformat().replace('+00:00', 'Z')} for that, {or_offset}"
        )


async def start_offsets(
    client: OffsetsClient, topic: str, partitions: Sequence[int], start: Start, option: str
) -> dict[int, int]:
    """Returns where each partition begins, at the earliest where retention has left records.

    Raises:
        ConfigurationError: no partition reaches as far as the offset.
        KafkaUnavailable: no answer in time.
    """
    if start.word == NOW:
        return await client.high_watermarks(topic, partitions)
    first = await client.beginnings(topic, partitions)
    if start.offset is not None:
        ends = await client.high_watermarks(topic, partitions)
        furthest = max(ends.values(), default=0)
        if start.offset > furthest:
            raise ConfigurationError(
                f"{option}: there is nothing at or after offset {start.offset}: {topic} ends at "
                f"{furthest}"
            )
        return {p: min(max(first[p], start.offset), ends[p]) for p in partitions}
    if start.moment is not None and epoch_ms(start.moment) > 0:
        return await client.at_time(topic, partitions, epoch_ms(start.moment))
    return first
