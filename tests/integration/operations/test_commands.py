"""The verbs as they are typed: what they print, and how they end."""

from pathlib import Path

import pytest
from sqlalchemy import delete

from operations.locks.creation import ensure_lock
from operations.locks.files import LockLine
from operations.shared.installation import Installation
from projector.role import run_projector
from read_model.tables import locks as locks_table
from schemas.lock_events import encode_event
from schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.conftest import PARTITIONS
from tests.integration.fanout.test_fanout import Stream
from tests.integration.kafka_tools import eventually, read_all
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running


async def test_one_partition_is_replayed_byte_for_byte_where_one_is_named(
    here: Installation,
) -> None:
    stream = Stream(here.kafka, here.settings)
    events = [created_event(n) for n in range(1, 9)]
    await stream.publish(*events)
    by_partition: dict[int, list[bytes]] = {}
    for event in events:
        home = partition_of(event.lock_id, PARTITIONS)
        by_partition.setdefault(home, []).append(encode_event(event))
    assert len(by_partition) == PARTITIONS
    for partition, values in by_partition.items():
        done = await lockstream(here, "replay", "--partition", str(partition))
        assert (done.code, done.stdout.splitlines()) == (0, values)
        assert done.stderr.splitlines()[-1] == f"{len(values)} events"
    refused = await lockstream(here, "replay", "--partition", str(PARTITIONS))
    assert (refused.code, refused.stdout) == (2, b"")
    assert "there are partitions 0 to 2" in refused.stderr


async def test_a_replay_begins_where_it_is_told_to_and_leaves_what_it_can_not_replace(
    here: Installation, tmp_path: Path
) -> None:
    stream = Stream(here.kafka, here.settings)
    for event in (created_event(7), used_event(7, 2), used_event(7, 3)):
        await stream.publish(event)
    topics = here.settings.topics
    records = await read_all(here.kafka, topics.lock_events, PARTITIONS)
    out = tmp_path / "events.ndjson"
    arguments = ("replay", "--partition", str(records[0].partition), "--out", str(out), "--from")
    done = await lockstream(here, *arguments, f"offset:{records[1].offset}")
    assert done.code == 0
    written = out.read_bytes()
    assert written.splitlines() == [record.value for record in records[1:]]
    refused = await lockstream(here, *arguments, "offset:1000")
    assert (refused.code, out.read_bytes()) == (2, written)
    done = await lockstream(here, *arguments, "now")
    assert (done.code, out.read_bytes()) == (0, b"")


async def test_every_line_of_an_import_is_counted_once(here: Installation, tmp_path: Path) -> None:
    """Two new, one of them on three lines, one that exists, and three that are bad."""
    file = tmp_path / "locks.csv"
    file.write_text(
        "id,org\n1,acme\n2,acme\n2,acme\n2,acme\n7,acme\n8,nobody\nzero,acme\n7,acme\n9,ac me\n"
    )
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", None))
        first = await lockstream(here, "lock", "import", str(file), "--json")
        again = await lockstream(here, "lock", "import", str(file), "--json")
        forced = await lockstream(here, "lock", "import", str(file), "--json", "--force")
    assert first.code == again.code == forced.code == 1
    counts = ("lines", "created", "existing", "bad")
    assert [first.json[name] for name in counts] == [9, 2, 4, 3]
    assert [again.json[name] for name in counts] == [9, 0, 6, 3]
    assert [forced.json[name] for name in counts] == [9, 1, 6, 2]
    assert [line["number"] for line in first.json["badLines"]] == [7, 8, 10]
    file.write_text("id,org\n1,acme\n")
    assert (await lockstream(here, "lock", "import", str(file), "--json")).code == 0


async def test_verify_ends_with_1_where_a_promise_is_broken(here: Installation) -> None:
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", None))
    sound = await lockstream(here, "verify", "--json")
    assert (sound.code, sound.json["ok"], sound.json["events"]) == (0, True, 1)
    spoil = delete(locks_table)
    await here.read_model._database.write(lambda connection: connection.execute(spoil))
    broken = await lockstream(here, "verify", "--json")
    assert (broken.code, broken.json["ok"], broken.json["violations"]) == (1, False, 1)
    assert broken.json["shown"][0]["kind"] == "read-model-differs"
    assert "1 violations" in (await lockstream(here, "verify")).stderr


async def test_a_page_of_locks_says_where_the_next_one_begins(here: Installation) -> None:
    async with running(run_projector, here.settings):
        for lock_id in (3, 5, 8):
            await ensure_lock(here, LockLine(lock_id, "acme", None))
    pages = []
    after: int | None = 0
    while after is not None:
        options = ("--limit", "2", "--after", str(after), "--org", "acme", "--json")
        page = (await lockstream(here, "lock", "list", *options)).json
        pages.append([lock["lockId"] for lock in page["locks"]])
        after = page["nextAfter"]
    assert pages == [[3, 5], [8]]
    full = (await lockstream(here, "lock", "list", "--limit", "3", "--json")).json
    assert full["nextAfter"] is None
    assert (await lockstream(here, "lock", "list", "--org", "bolt", "--json")).json["locks"] == []


async def test_keys_are_listed_with_whether_they_let_anybody_in(here: Installation) -> None:
    issued = await lockstream(here, "key", "issue", "--org", "acme", "--json")
    brief = await lockstream(here, "key", "issue", "--org", "acme", "--expires", "1s", "--json")
    revoked = await lockstream(here, "key", "revoke", issued.json["keyId"], "--json")
    listed: list[dict[str, object]] = []

    async def both_have_ended() -> bool:
        listed[:] = (await lockstream(here, "key", "list", "--json")).json
        return [key["live"] for key in listed] == [False, False]

    await eventually(both_have_ended)
    assert {key["keyId"] for key in listed} == {issued.json["keyId"], brief.json["keyId"]}
    (ended,) = [key for key in listed if key["keyId"] == issued.json["keyId"]]
    assert ended["revokedAt"] == revoked.json["revokedAt"]
    assert issued.json["key"] not in str(listed)
    assert (await lockstream(here, "key", "list", "--org", "bolt", "--json")).json == []


@pytest.mark.parametrize(
    "verb",
    [
        ("lock", "show", "7"),
        ("key", "revoke", "nobody"),
        ("partner", "resume", "nobody"),
        ("org", "remove", "--id", "bolt"),
        ("lock", "add", "--id", "0", "--org", "acme"),
        ("partner", "add", "--id", "crm", "--org", "acme", "--from", "2999-01-01"),
        ("parked", "show", "0:0"),
    ],
)
async def test_what_a_person_can_mend_ends_with_2_and_one_line(
    here: Installation, verb: tuple[str, ...]
) -> None:
    done = await lockstream(here, *verb)
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith("lockstream: ")
    assert len(done.stderr.splitlines()) == 1
