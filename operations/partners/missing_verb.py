"""``lockstream partner missing``: shows what a partner is entitled to and was not sent, and what it
was sent and has not read."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from tempfile import TemporaryFile
from typing import IO, Annotated

import msgspec
import typer

from eventlog.registry import Registry
from fanout.reading import PartnerReading, PartnersReader, open_clients
from fanout.unread import Unread
from operations.partners.entries import no_such_partner
from operations.partners.lag import MOST_GROUPS
from operations.partners.missing import Findings, MissingEvent, MissingScan
from operations.partners.unread_shown import COLUMNS, remarks, shown_reading, unread_rows
from operations.shared.console import print_json, print_pieces, print_table, progress_bar, say, show
from operations.shared.durations import read_duration, write_duration
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from runtime.errors import ConfigurationError
from schemas.registry import Partner

LINES_AT_ONCE = 1000
NO_GROUP = "no group of its own"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(MissingEvent)


class Found(msgspec.Struct, frozen=True):
    """Holds what the verb has found out. ``unread_overdue``: by whom records were not read for
    longer than they may lie."""

    findings: Findings
    reading: PartnerReading
    unread_overdue: list[str]

    @property
    def ok(self) -> bool:
        """Returns whether nothing is overdue. What nobody can tell any more is."""
        findings = self.findings
        overdue = findings.overdue or findings.passed_over or findings.unknown
        return not overdue and not self.unread_overdue


def show_missing(
    partner_id: Annotated[str, typer.Option("--id", help="The partner's id.")],
    overdue: Annotated[
        str, typer.Option(help="How long an event may take to be delivered: 30s, 5m, 1h.")
    ] = "30s",
    unread_overdue: Annotated[
        str | None,
        typer.Option(help="How long a record may lie unread; if left out, as long as it likes."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Also list each event that is undelivered.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a partner was not sent, of what it is entitled to, and what it has not read.

    The exit code is 1 if anything is overdue.

    All that it is entitled to, since its registration, is compared with its topic. Unread is what
    is left there and none of its own consumer groups has committed: the group with the partner's id
    as its name, and those that begin with it and '.'.

    With --list and --json there is a JSON object on each line: one for each undelivered event, and
    at the end the one that --json alone prints."""

    async def find(here: Installation) -> Found:
        overdue_s = read_duration("--overdue", overdue).total_seconds()
        unread_s = None
        if unread_overdue is not None:
            unread_s = read_duration("--unread-overdue", unread_overdue).total_seconds()
        partner = find_partner(await here.read_registry(), partner_id)
        findings = await find_missing(here, partner, overdue_s, listed if listing else None)
        reading = await read_one(here, partner)
        return Found(findings, reading, _not_read_for(reading, unread_s, time.time()))

    with TemporaryFile() as listed:
        found = run_on_installation(find)
        listed.seek(0)
        if as_json:
            print_pieces(line.decode() for line in listed)
            print_json(shown(found))
        else:
            print_pieces(_lines(listed))
            _show(found)
    if not found.ok:
        raise typer.Exit(1)


def find_partner(registry: Registry, partner_id: str) -> Partner:
    """Returns a partner that is served, or paused.

    Raises:
        ConfigurationError: there is none of this id, or it is removed.
    """
    entry = registry.partner(partner_id)
    if entry is None:
        raise no_such_partner(partner_id)
    if entry.status == "removed":
        raise ConfigurationError(
            f"partner {partner_id} is removed: nothing more is to be delivered to it"
        )
    return entry


async def find_missing(
    here: Installation, partner: Partner, overdue_s: float, listed: IO[bytes] | None
) -> Findings:
    """Compares, with a progress bar, and writes each missing event to ``listed``, on a line.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        PositionLost: retention has deleted a record that was to be read: try again.
    """
    scan = MissingScan(here, partner, overdue_s)
    ranges = await scan.plan()
    lines: list[bytes] = []
    with progress_bar(f"comparing {partner.id}'s topic", ranges.size, "offsets") as advance:
        async with aclosing(scan.run(ranges, advance)) as missing:
            async for event in missing:
                if listed is None:
                    continue
                lines.append(_encoder.encode(event) + b"\n")
                if len(lines) >= LINES_AT_ONCE:
                    await asyncio.to_thread(listed.writelines, lines)
                    lines.clear()
    if listed is not None:
        await asyncio.to_thread(listed.writelines, lines)
    return scan.findings


async def read_one(here: Installation, partner: Partner) -> PartnerReading:
    """Finds out what one partner has not read.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: we may not see a group.
    """
    reader = PartnersReader(here.settings.topics, MOST_GROUPS)
    reader.entitled.begin([partner])
    async with open_clients(here.kafka) as clients:
        (reading,) = await reader.read(clients, [partner], {})
    return reading


def _not_read_for(reading: PartnerReading, most_s: float | None, now: float) -> list[str]:
    """Returns by whom records were not read for longer than ``most_s``."""
    if most_s is None:
        return []
    readers: list[tuple[str, Unread]] = [(group.name, group.unread) for group in reading.groups]
    return [
        name
        for name, unread in readers or [(NO_GROUP, reading.unread)]
        if unread.taken or (unread.oldest_ms is not None and now - unread.oldest_ms / 1000 > most_s)
    ]


def shown(found: Found) -> dict[str, object]:
    """Returns what scripts get."""
    findings, reading = found.findings, found.reading
    return {
        "id": reading.partner.id,
        "status": reading.partner.status,
        "ok": found.ok,
        "undelivered": findings.undelivered,
        "overdue": findings.overdue,
        "first": msgspec.to_builtins(findings.first),
        "last": msgspec.to_builtins(findings.last),
        "passedOver": findings.passed_over,
        "unknownPartitions": findings.unknown,
        "foreignRecords": findings.foreign,
        **shown_reading(reading),
        "unreadOverdue": found.unread_overdue,
    }


def _lines(listed: Iterable[bytes]) -> Iterator[str]:
    for line in listed:
        event = _decoder.decode(line)
        yield (
            f"{event.recorded_at} {event.type} lock {event.lock_id} version {event.version} "
            f"event {event.event_id} at {event.partition}:{event.offset}\n"
        )


def _show(found: Found) -> None:
    findings, reading = found.findings, found.reading
    show(f"undelivered: {findings.undelivered:,}, of them overdue: {findings.overdue:,}")
    for name, event in (("first", findings.first), ("last", findings.last)):
        if event is not None:
            show(
                f"{name}: event {event.event_id}, version {event.version} of lock {event.lock_id}, "
                f"recorded at {event.recorded_at}, {write_duration(event.age_seconds)} ago"
            )
    if findings.passed_over:
        show(f"passed over: {findings.passed_over:,}, before the first record that retention left")
    for number in findings.unknown:
        show(f"partition {number}: retention has emptied it, and no checkpoint says what was sent")
    if findings.foreign:
        show(
            f"in its topic are {findings.foreign:,} records that this installation did not write, "
            "or can't read any more; `lockstream verify` names them"
        )
    print_table(COLUMNS, unread_rows(reading))
    if reading.partner.status == "paused":
        say(
            f"partner {reading.partner.id} is paused: nothing is delivered until "
            f"`lockstream partner resume {reading.partner.id}`"
        )
    for line in (*remarks(reading), *(f"overdue: unread by {who}" for who in found.unread_overdue)):
        say(line)
