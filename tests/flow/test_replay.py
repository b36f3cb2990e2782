"""``lockstream replay`` on a running system: what ``--from`` is taken for, and what is said."""

import json
from pathlib import Path

import pytest

from tests.flow.conftest import RunningSystem

pytestmark = pytest.mark.timeout(240)


def test_a_start_is_said_and_nothing_is_exported_in_silence(
    running_system: RunningSystem, tmp_path: Path
) -> None:
    everything = running_system.lockstream("replay").splitlines()
    # Of two partitions either may come first.
    since_ever = running_system.lockstream("replay", "--from", "1969-12-31").splitlines()
    assert sorted(since_ever) == sorted(everything)
    first = json.loads(everything[0])
    since = running_system.try_lockstream("replay", "--from", first["recordedAt"])
    assert since.returncode == 0
    assert "understood as" in since.stderr
    assert everything[0] in since.stdout.splitlines()

    out = tmp_path / "events.ndjson"
    out.write_text("yesterday's")
    for start, said in [
        ("offset:4000000000", "nothing at or after offset 4000000000"),
        ("2999-01-01", "nothing at or after 2999-01-01"),
        ("20261126", "offset:20261126"),
        ("²", "none of earliest"),
    ]:
        done = running_system.try_lockstream("replay", "--from", start, "--out", str(out))
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    assert out.read_text() == "yesterday's"
    done = running_system.try_lockstream("replay", "--from", "now", "--out", str(out))
    assert "nothing at or after now" in done.stderr
    assert (done.returncode, out.read_bytes()) == (0, b"")


def test_a_partner_begins_where_the_same_words_say(running_system: RunningSystem) -> None:
    for start in ("2999-01-01", "offset:4000000000", "1795441973073"):
        done = running_system.try_lockstream(
            "partner", "add", "--id", "starts", "--org", "demo", "--from", start
        )
        assert (done.returncode, "--from" in done.stderr) == (2, True)
    partners = json.loads(running_system.lockstream("partner", "list", "--json"))
    assert "starts" not in [entry["id"] for entry in partners]
