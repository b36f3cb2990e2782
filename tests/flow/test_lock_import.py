"""``lockstream lock import``: every line of a file is accounted for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.primitives import default_lock_uuid
from tests.flow.conftest import RunningSystem

pytestmark = pytest.mark.timeout(240)
FIRST = 7_000_000


def imported(system: RunningSystem, file: Path, *options: str) -> tuple[int, Mapping[str, Any]]:
    """The exit code, and what became of the lines."""
    done = system.try_lockstream("lock", "import", str(file), "--json", *options)
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    assert report["lines"] == report["created"] + report["existing"] + report["bad"]
    assert report["bad"] == len(report["badLines"])
    return done.returncode, report


def counts(report: Mapping[str, Any]) -> tuple[int, int, int]:
    return report["created"], report["existing"], report["bad"]


def test_every_line_is_created_existed_or_is_named(
    running_system: RunningSystem, tmp_path: Path
) -> None:
    for org in ("import-a", "import-b"):
        running_system.lockstream("org", "add", "--id", org)
    uuid = uuid4()
    first = tmp_path / "first.csv"
    # Locks enough that the contradiction lies in another batch than what it contradicts.
    many = "".join(f"{FIRST + 100 + n},import-a,\n" for n in range(2_500))
    first.write_text(
        "\ufeffid,org,uuid\n"
        f"{FIRST},import-a,\n"
        f"{FIRST + 1},import-a,{uuid}\n"
        f'{FIRST + 2},"import-a,\n'
        f"{FIRST + 3},import-a,\n"
        f"{FIRST + 4},nobody,\n"
        f"{many}"
        f"{FIRST},import-a,\n"
        f"{FIRST + 3},import-b,\n",
        encoding="utf-8",
    )
    code, report = imported(running_system, first)
    assert (code, counts(report)) == (1, (2_502, 1, 4))
    assert [line["number"] for line in report["badLines"]] == [4, 5, 6, 2_508]
    assert "nobody" in report["badLines"][2]["problem"]

    code, again = imported(running_system, first)
    assert (code, counts(again)) == (1, (0, 2_503, 4))

    second = tmp_path / "second.ndjson"
    lines: list[dict[str, object]] = [
        {"id": FIRST, "org": "import-b"},
        {"id": FIRST + 1, "org": "import-a", "uuid": str(uuid4())},
        {"id": FIRST + 1, "org": "import-a"},
        {"id": FIRST + 4, "org": "nobody"},
    ]
    second.write_text("\n".join(json.dumps(line) for line in lines[:1] + lines[2:]))
    code, report = imported(running_system, second, "--force")
    assert (code, counts(report)) == (1, (1, 1, 1))
    assert report["badLines"] == [
        {"number": 1, "problem": f"lock {FIRST} belongs to import-a, not to import-b"}
    ]
    second.write_text(json.dumps(lines[1]))
    code, report = imported(running_system, second)
    assert (code, counts(report)) == (1, (0, 0, 1))
    assert str(uuid) in report["badLines"][0]["problem"]
    shown = json.loads(running_system.lockstream("lock", "show", str(FIRST), "--json"))
    assert (shown["orgId"], shown["version"]) == ("import-a", 1)


def test_the_uuid_of_another_lock_is_named_and_given_to_nobody(
    running_system: RunningSystem, tmp_path: Path
) -> None:
    running_system.lockstream("org", "add", "--id", "twins")
    owner, twin, late = 7_100_000, 7_100_001, 7_100_002
    # One that the third lock would get by itself.
    uuid = str(default_lock_uuid(late))
    add = ("lock", "add", "--org", "twins", "--id")
    running_system.lockstream(*add, str(owner), "--uuid", uuid)
    done = running_system.try_lockstream(*add, str(twin), "--uuid", uuid)
    assert (done.returncode, done.stderr.strip().splitlines()) == (
        2,
        [f"lockstream: {_taken(twin, uuid, owner)}"],
    )
    file = tmp_path / "twins.csv"
    file.write_text(f"id,org\n{late},twins\n{late + 1},twins\n")
    code, report = imported(running_system, file)
    assert (code, counts(report)) == (1, (1, 0, 1))
    assert report["badLines"] == [{"number": 2, "problem": _taken(late, uuid, owner)}]


def _taken(lock_id: int, uuid: str, owner: int) -> str:
    return f"lock {lock_id} would get the uuid {uuid}, which lock {owner} has; give it another"


def test_locks_are_listed_page_by_page(running_system: RunningSystem, tmp_path: Path) -> None:
    running_system.lockstream("org", "add", "--id", "listed")
    file = tmp_path / "locks.csv"
    ids = [2**62, *range(8_000_000, 8_000_004)]
    file.write_text("id,org\n" + "".join(f"{lock},listed\n" for lock in ids))
    assert imported(running_system, file)[0] == 0
    pages = []
    after: int | None = 0
    while after is not None:
        arguments = ("--org", "listed", "--limit", "2", "--after", str(after), "--json")
        page = json.loads(running_system.lockstream("lock", "list", *arguments))
        pages.append([lock["lockId"] for lock in page["locks"]])
        after = page["nextAfter"]
    assert pages == [sorted(ids)[0:2], sorted(ids)[2:4], sorted(ids)[4:]]
    table = running_system.lockstream("lock", "list", "--after", "7999999", "--limit", "1")
    assert "8000000" in table
    assert "listed" in table
    assert "2026" not in running_system.lockstream("lock", "list", "--org", "unheard-of")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("locks.csv", "id,org\n7,acme\n".encode("utf-16")),
        ("locks.csv", b"id,org\n7,M\xfcller\n"),
        ("locks.csv", b"\x1f\x8b\x08\x00"),
        ("locks.csv", b""),
        ("locks.txt", b"id,org\n"),
        ("locks.csv", None),
        ("folder.csv", "folder"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | str | None
) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        file.mkdir()
    # Nothing has to run for that: a file is read whole before anything is asked.
    done = RunningSystem(tmp_path, {}).try_lockstream("lock", "import", str(file))
    errors = [line for line in done.stderr.splitlines() if line.startswith("lockstream: ")]
    assert (done.returncode, len(errors)) == (2, 1)
    assert name in errors[0]
    assert "Traceback" not in done.stderr
