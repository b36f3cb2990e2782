"""`partner missing` finds what a partner was not sent, and nothing else."""

import json

import msgspec

from eventlog.groups import delete_group
from eventlog.records import Output, Record
from eventlog.transactional_writer import TransactionalWriter
from fanout.positions import Positions
from fanout.role import run_fanout
from operations.partners.changes import remove_partner, set_status
from operations.partners.missing import Findings, MissingEvent, MissingScan
from operations.partners.registration import create_partner
from operations.shared.installation import Installation
from schemas.registry import Partner
from schemas.topics import partition_of
from tests.examples_of import TIME, created_event, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.fanout.test_reading import commit
from tests.integration.kafka_tools import delete_records, eventually, write_raw
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running

LONG_S = 3600.0


async def missing(
    here: Installation, partner: Partner, overdue_s: float = LONG_S
) -> tuple[Findings, list[MissingEvent]]:
    scan = MissingScan(here, partner, overdue_s)
    ranges = await scan.plan()
    advanced: list[int] = []
    found = [event async for event in scan.run(ranges, advanced.append)]
    assert sum(advanced) == ranges.size
    assert scan.findings.undelivered == len(found)
    return scan.findings, found


async def test_what_was_not_sent_is_found_and_nothing_else(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    await stream.publish(created_event(1), created_event(2, "bolt"), created_event(3))
    assert (await missing(here, partner))[0].undelivered == 2
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 2)
        assert await missing(here, partner) == (Findings(), [])
    first, last = used_event(1, 2), used_event(3, 2)
    first = msgspec.structs.replace(first, recorded_at="2026-01-01T00:00:00.000Z")
    await stream.publish(last)
    await stream.publish(first, used_event(2, 2, org_id="bolt"))
    findings, events = await missing(here, partner)
    assert {event.event_id for event in events} == {str(first.event_id), str(last.event_id)}
    assert findings.first is not None
    assert findings.last is not None
    assert (findings.first.event_id, findings.first.version) == (str(first.event_id), 2)
    assert (findings.first.lock_id, findings.first.recorded_at) == ("1", first.recorded_at)
    assert (findings.last.event_id, findings.last.recorded_at) == (str(last.event_id), TIME)
    assert findings.overdue == 0
    assert (await missing(here, partner, overdue_s=-1.0))[0].overdue == 2


async def test_only_events_from_its_registration_on_and_of_its_types_are_missing(
    here: Installation, stream: Stream
) -> None:
    await stream.publish(created_event(1))
    late = await create_partner(here, "late", "acme", ("TempKeyUsed",), "now")
    await stream.publish(used_event(1, 2), created_event(2))
    _, events = await missing(here, late)
    assert [(event.type, event.version) for event in events] == [("TempKeyUsed", 2)]


async def test_an_event_that_was_passed_over_is_missing_though_later_ones_were_sent(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    """A fan-out that skips an event leaves no gap in its sequence."""
    skipped = used_event(1, 2)
    await stream.publish(created_event(1), skipped, used_event(1, 3))
    async with running(run_fanout, here.settings):
        records = await stream.until_delivered("a", 3)
    await remake_topic(here, [records[0], await renumbered(here, records[2], 2)])
    findings, events = await missing(here, partner)
    assert [event.event_id for event in events] == [str(skipped.event_id)]
    assert findings.passed_over == 0


async def test_what_retention_has_taken_is_counted_by_the_sequence_of_what_it_left(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    home = partition_of(1, here.settings.partitions)
    await stream.publish(*(used_event(1, n) for n in range(1, 5)))
    own = here.settings.topics.partner_events("a")
    async with running(run_fanout, here.settings):
        records = await stream.until_delivered("a", 4)
        await delete_records(here.kafka, own, home, before=records[2].offset)
        assert await missing(here, partner) == (Findings(), [])
    # The same again, as if the second had never been sent.
    third, fourth = records[2:]
    await remake_topic(here, [await renumbered(here, third, 2), await renumbered(here, fourth, 3)])
    findings, events = await missing(here, partner)
    assert (events, findings.passed_over) == ([], 1)


async def test_a_topic_that_retention_has_emptied_is_judged_by_the_checkpoint(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    home = partition_of(1, here.settings.partitions)
    await stream.publish(created_event(1))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 1)
    await delete_records(here.kafka, here.settings.topics.partner_events("a"), home)
    assert await missing(here, partner) == (Findings(), [])
    await stream.publish(used_event(1, 2))
    assert [event.version for event in (await missing(here, partner))[1]] == [2]
    await delete_group(here.kafka, here.settings.topics.fanout_group("a"))
    findings, events = await missing(here, partner)
    assert (events, findings.unknown) == ([], [home])


async def test_records_that_nobody_can_read_are_counted_and_stand_for_nothing(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    await stream.publish(created_event(1))
    async with running(run_fanout, here.settings):
        (record,) = await stream.until_delivered("a", 1)
    own = here.settings.topics.partner_events("a")
    await write_raw(here.kafka, own, record.partition, record.key, b"{}", record.headers[:-2])
    await stream.publish(used_event(1, 2))
    findings, events = await missing(here, partner)
    assert ([event.version for event in events], findings.foreign) == ([2], 1)


async def renumbered(here: Installation, record: Record, sequence: int) -> Record:
    """Returns the record as it would be if a fan-out had counted otherwise."""
    topic = here.settings.topics.partner_events("a")
    positions = Positions((await here.read_registry()).position_key)
    stood_at = positions.read(topic, record).source_offset
    sealed = positions.seal(topic, record.partition, sequence, stood_at)
    other = {"sequence": b"%d" % sequence, "position": sealed.encode()}
    headers = tuple((name, other.get(name, value)) for name, value in record.headers)
    return msgspec.structs.replace(record, headers=headers)


async def remake_topic(here: Installation, records: list[Record]) -> None:
    """Makes the partner's topic hold these records and nothing else."""
    topic = here.settings.topics.partner_events("a")
    for number in here.settings.topics.numbers:
        await delete_records(here.kafka, topic, number)
    writer = await TransactionalWriter.fence(here.kafka, f"{topic}.remade")
    await writer.write(
        {
            records[0].partition: [
                Output(topic, record.key, record.value, record.headers) for record in records
            ]
        }
    )
    await writer.discard()


async def test_the_verb_says_what_is_missing_and_its_exit_code_whether_it_is_overdue(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    await stream.publish(created_event(1), used_event(1, 2))
    late = await lockstream(here, "partner", "missing", "--id", "a", "--overdue", "1h", "--json")
    assert (late.code, late.json["ok"]) == (0, True)
    assert (late.json["undelivered"], late.json["overdue"]) == (2, 0)
    assert late.json["first"]["version"] == 1
    assert late.json["first"].keys() >= {"eventId", "recordedAt", "lockId", "ageSeconds"}
    listed = await lockstream(
        here, "partner", "missing", "--id", "a", "--overdue", "1h", "--list", "--json"
    )
    lines = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [line.get("version") for line in lines] == [1, 2, None]
    assert lines[2]["undelivered"] == 2

    async def is_overdue() -> bool:
        done = await lockstream(
            here, "partner", "missing", "--id", "a", "--overdue", "1s", "--list"
        )
        return done.code == 1 and b"overdue: 2" in done.stdout and b"version 2" in done.stdout

    await eventually(is_overdue)
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 2)
        done = await lockstream(here, "partner", "missing", "--id", "a")
        assert (done.code, b"undelivered: 0" in done.stdout) == (0, True)

        async def is_unread_for_long() -> bool:
            found = await lockstream(
                here, "partner", "missing", "--id", "a", "--unread-overdue", "1s", "--json"
            )
            told = found.json
            return (found.code, told["unread"], told["unreadOverdue"]) == (
                1,
                2,
                ["no group of its own"],
            )

        await eventually(is_unread_for_long)
        await commit(stream, "a", "a", dict.fromkeys(here.settings.topics.numbers, 1_000))
        read = await lockstream(
            here, "partner", "missing", "--id", "a", "--unread-overdue", "1s", "--json"
        )
        assert (read.code, read.json["unread"], read.json["ok"]) == (0, 0, True)


async def test_a_partner_that_is_unknown_removed_or_paused_is_one_clear_line(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    unknown = await lockstream(here, "partner", "missing", "--id", "nobody")
    assert unknown.code == 2
    assert unknown.stderr == (
        "lockstream: there is no partner nobody; `lockstream partner list` shows all\n"
    )
    bad = await lockstream(here, "partner", "missing", "--id", "a", "--overdue", "soon")
    assert bad.code == 2
    assert "--overdue: 'soon' is not a duration" in bad.stderr
    await stream.publish(created_event(1))
    await set_status(here, "a", "paused")
    paused = await lockstream(here, "partner", "missing", "--id", "a", "--overdue", "1h")
    assert paused.code == 0
    assert "partner a is paused: nothing is delivered until" in paused.stderr
    assert b"undelivered: 1" in paused.stdout
    await remove_partner(here, "a", with_topic=False)
    removed = await lockstream(here, "partner", "missing", "--id", "a")
    assert removed.code == 2
    assert removed.stderr == (
        "lockstream: partner a is removed: nothing more is to be delivered to it\n"
    )
