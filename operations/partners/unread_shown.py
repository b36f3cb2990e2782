"""Shows what a partner's consumer groups have not read, to people and to scripts."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from fanout.reading import GroupReading, PartnerReading
from fanout.unread import Unread
from operations.shared.durations import write_duration
from schemas.primitives import write_time

COLUMNS = ("group", "members", "unread", "oldest", "retained until")


def shown_reading(reading: PartnerReading) -> dict[str, object]:
    """Returns what scripts get: of the group that is furthest behind, then of each."""
    return {
        **_shown_unread(reading, reading.unread),
        "retentionMs": reading.retention_ms,
        "groups": [_shown_group(reading, group) for group in reading.groups],
        "groupsLeftOut": reading.left_out,
    }


def _shown_group(reading: PartnerReading, group: GroupReading) -> dict[str, object]:
    return {
        "group": group.name,
        "members": group.members,
        **_shown_unread(reading, group.unread),
    }


def _shown_unread(reading: PartnerReading, unread: Unread) -> dict[str, object]:
    oldest_ms = unread.oldest_ms
    until_ms = reading.retained_until_ms(unread)
    return {
        "unread": unread.records,
        "oldestUnreadAt": None if oldest_ms is None else _time(oldest_ms),
        "oldestUnreadSeconds": None if oldest_ms is None else _age_s(oldest_ms, time.time()),
        "retainedUntil": None if until_ms is None else _time(until_ms),
        "takenUnread": unread.taken,
    }


def unread_rows(reading: PartnerReading) -> list[Sequence[object]]:
    """Returns a row for each group, or the one of a partner that has none."""
    now = time.time()
    readers = [(group.name, group.members, group.unread) for group in reading.groups]
    return [
        (name, members, *_cells(reading, unread, now))
        for name, members, unread in readers or [("none", 0, reading.unread)]
    ]


def _cells(reading: PartnerReading, unread: Unread, now: float) -> Sequence[object]:
    until_ms = reading.retained_until_ms(unread)
    return (
        f"{unread.records:,}",
        "" if unread.oldest_ms is None else write_duration(_age_s(unread.oldest_ms, now)),
        "" if until_ms is None else _time(until_ms),
    )


def remarks(reading: PartnerReading) -> list[str]:
    """Returns what a person should know besides the figures."""
    partner_id = reading.partner.id
    lines = [
        f"partner {partner_id}: retention has taken records before group {group.name} had read them"
        for group in reading.groups
        if group.unread.taken
    ]
    if not reading.groups and reading.unread.taken:
        lines.append(f"partner {partner_id}: retention has taken records that no group had read")
    if reading.left_out:
        lines.append(f"partner {partner_id}: {reading.left_out} more groups are not shown")
    return lines


def _age_s(then_ms: int, now: float) -> float:
    return round(max(0.0, now - then_ms / 1000), 1)


def _time(milliseconds: int) -> str:
    try:
        return write_time(datetime.fromtimestamp(milliseconds / 1000, UTC))
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"  # of a record that none of ours has written
