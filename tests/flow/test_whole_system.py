"""From HTTP to the partner's record and the replay, as a user runs it; and what happens to it."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eventlog.kafka import Kafka
from runtime.settings import Settings
from schemas.lock_facts import encode_fact
from schemas.partner_events import PartnerPosition, decode_envelope
from schemas.topics import partition_of
from tests.examples_of import temp_key_used
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, read_all, write_facts, write_raw

pytestmark = pytest.mark.timeout(240)
PARTITIONS = 12


def kafka_of(system: RunningSystem) -> Kafka:
    servers = system.env["KAFKA_BOOTSTRAP_SERVERS"]
    return Kafka(Settings(kafka_bootstrap_servers=servers), "test")


async def test_a_command_reaches_the_partner_and_the_replay(
    own_system: RunningSystem, tmp_path: Path
) -> None:
    own_system.start()
    env = own_system.env
    assert set(env) >= {
        "BASE_URL", "TOKEN", "API_KEY", "LOCK_ID", "LOCK_UUID", "ORG_ID", "PARTNER_ID",
        "PARTNER_TOPIC", "KAFKA_BOOTSTRAP_SERVERS", "READ_MODEL_URL", "API_PID", "PROJECTOR_PID",
        "FANOUT_PID", "BROKER_PID",
    }  # fmt: skip
    assert own_system.env_file.stat().st_mode & 0o777 == 0o600
    caller = Caller(env)
    recorded = [caller.use().json() for _ in range(3)]
    assert [r["version"] for r in recorded] == [2, 3, 4]
    kafka = kafka_of(own_system)

    async def delivered() -> bool:
        return len(await read_all(kafka, env["PARTNER_TOPIC"], PARTITIONS)) == 4

    await eventually(delivered)
    records = await read_all(kafka, env["PARTNER_TOPIC"], PARTITIONS)
    assert [PartnerPosition.from_kafka(r.headers).sequence for r in records] == [1, 2, 3, 4]
    envelopes = [decode_envelope(r.value or b"") for r in records]
    assert [str(e.id) for e in envelopes[1:]] == [r["event"]["id"] for r in recorded]
    assert b"demo-user" not in b"".join(r.value or b"" for r in records)

    replayed = [json.loads(line) for line in own_system.lockstream("replay").splitlines()]
    assert [e["version"] for e in replayed] == [1, 2, 3, 4]
    assert replayed[1]["actor"] == {
        "kind": "user", "subject": "demo-user", "orgId": "demo",
        "keyId": env["API_KEY"].split("_")[2],
    }  # fmt: skip
    own_system.lockstream("replay", "--format", "parquet", "--out", str(tmp_path / "events"))
    table = pq.read_table(tmp_path / "events")
    assert sorted(table["version"].to_pylist()) == [1, 2, 3, 4]
    later = own_system.lockstream("replay", "--from", replayed[3]["recordedAt"])
    assert [json.loads(line)["version"] for line in later.splitlines()] == [4]

    database = env["READ_MODEL_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(database, isolation_level=None)) as spoilt:
        spoilt.execute("UPDATE locks SET org_id = 'other'")
        spoilt.execute("DELETE FROM events")
        assert "4 events and 0 parked facts" in own_system.try_lockstream("rebuild").stderr
        assert spoilt.execute("SELECT org_id, version FROM locks").fetchall() == [("demo", 4)]
    events = caller.get("/locks/123/events").json()["events"]
    assert [event["version"] for event in events] == [1, 2, 3, 4]

    assert own_system.stop() == 0
    assert own_system.said.rstrip().endswith("stopped")
    assert own_system.start() < 30  # nothing is fetched or made anew
    again = Caller(own_system.env)
    assert own_system.env["API_KEY"] == env["API_KEY"]
    assert again.use().json()["version"] == 5
    caller.close()
    again.close()


async def test_the_fan_out_stands_back_for_commands_and_nobody_else_does(
    running_system: RunningSystem,
) -> None:
    env = running_system.env

    async def stands_back() -> bool:
        return _niceness(env["FANOUT_PID"]) == _niceness(env["API_PID"]) + 5

    await eventually(stands_back)
    assert _niceness(env["PROJECTOR_PID"]) == _niceness(env["API_PID"])


def _niceness(pid: str) -> int:
    return os.getpriority(os.PRIO_PROCESS, int(pid))


def test_a_busy_port_gets_another_free_one(own_system: RunningSystem) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own_system._environment["LOCKSTREAM_API_PORT"] = str(port)
        own_system.start()
        assert f":{port}" not in own_system.env["BASE_URL"]
        assert f"port {port} is not used" in own_system.said
        caller = Caller(own_system.env)
        assert caller.use().status_code == 200
        caller.close()


def test_while_the_projector_is_away_commands_are_pending_and_later_recorded(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    caller = Caller(own_system.env)
    projector = int(own_system.env["PROJECTOR_PID"])
    os.kill(projector, signal.SIGSTOP)
    try:
        pending = caller.use(key="opening-1")
        assert pending.status_code == 202
        body = pending.json()
        assert (body["success"], body["status"]) == (True, "pending")
        assert pending.headers["location"] == f"/events/{body['eventId']}"
        assert pending.headers["retry-after"]
        assert caller.get(pending.headers["location"]).json()["status"] == "pending"
        own_system.kill("API")
        own_system.wait_until_ready()
        assert caller.get(pending.headers["location"]).json()["status"] == "pending"
    finally:
        os.kill(projector, signal.SIGCONT)
    answer = caller.use(key="opening-1")
    assert answer.status_code == 200
    assert answer.json()["version"] == 2
    assert answer.headers["idempotent-replayed"] == "true"
    assert caller.get(pending.headers["location"]).json()["status"] == "recorded"
    caller.close()


def test_while_kafka_is_away_commands_get_503_and_the_retry_is_answered(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    caller = Caller(own_system.env)
    assert caller.use().status_code == 200
    broker = int(own_system.env["BROKER_PID"])
    os.kill(broker, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        away = caller.use(key="opening-2")
        assert time.monotonic() - begun < 10
        assert (away.status_code, away.json()["code"]) == (503, 503)
        assert away.headers["retry-after"]
        assert "kafka" in _until_not_ready(caller)
    finally:
        os.kill(broker, signal.SIGCONT)
    answer = _until_answered(caller, "opening-2")
    assert answer["version"] == 3
    own_system.kill("BROKER")
    assert _until_answered(caller, "opening-3")["version"] == 4
    caller.close()


def _until_not_ready(caller: Caller) -> dict[str, str]:
    deadline = time.monotonic() + 15
    while (ready := caller.get("/readyz")).status_code != 503:
        assert time.monotonic() < deadline
    return dict(ready.json()["obstacles"])


def _until_answered(caller: Caller, key: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (answer := caller.use(key=key)).status_code != 200:
        assert answer.status_code in (202, 503)
        assert time.monotonic() < deadline
    return dict(answer.json())


def test_locks_are_imported_again_without_harm_and_bad_lines_are_named(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    file = own_system.folder / "locks.csv"
    file.write_text("id,org\n" + "".join(f"{n},demo\n" for n in range(1, 5001)) + "x,demo\n7\n")
    first = own_system.try_lockstream("lock", "import", str(file), "--json")
    assert first.returncode == 1
    # Lock 123 is the demo's own.
    counts, bad_lines = counts_and_bad_lines(first.stdout)
    assert counts == {"lines": 5002, "created": 4999, "existing": 1, "bad": 2}
    assert bad_lines == [5002, 5003]
    again = own_system.try_lockstream("lock", "import", str(file), "--json")
    counts, bad_lines = counts_and_bad_lines(again.stdout)
    assert counts == {"lines": 5002, "created": 0, "existing": 5000, "bad": 2}
    assert bad_lines == [5002, 5003]
    shown = json.loads(own_system.lockstream("lock", "show", "5000", "--json"))
    assert (shown["version"], shown["orgId"]) == (1, "demo")


def counts_and_bad_lines(report: str) -> tuple[dict[str, int], list[int]]:
    counts = json.loads(report)
    return counts, [line["number"] for line in counts.pop("badLines")]


def test_a_parked_fact_is_retried_and_becomes_one_event(own_system: RunningSystem) -> None:
    own_system.start()
    early = temp_key_used(900, org_id="demo")
    odd = encode_fact(early).replace(b"tempKeyUuid", b"tempKeyID")
    kafka, partition = kafka_of(own_system), partition_of(900, PARTITIONS)
    asyncio.run(write_facts(kafka, "lock-facts", PARTITIONS, [early]))
    asyncio.run(write_raw(kafka, "lock-facts", partition, b"900", odd))

    def parked() -> list[dict[str, Any]]:
        return list(json.loads(own_system.lockstream("parked", "list", "--json")))

    deadline = time.monotonic() + 20
    while len(listed := parked()) < 2:
        assert time.monotonic() < deadline
    assert [row["reason"] for row in listed] == ["unknown-lock", "undecodable"]
    places = [row["place"] for row in listed]
    caller = Caller(own_system.env)
    assert caller.get(f"/events/{early.event_id}").json()["status"] == "parked"
    again = own_system.try_lockstream("parked", "retry", places[0])
    assert (again.returncode, "unknown-lock" in again.stderr) == (1, True)
    own_system.lockstream("lock", "add", "--id", "900", "--org", "demo")
    (waiting,) = [row for row in parked() if row["reason"] == "unknown-lock"]
    assert (waiting["place"] > places[0], waiting["state"]) == (True, "waiting")
    for _ in range(2):
        retried = own_system.lockstream("parked", "retry", places[0], "--json")
        assert json.loads(retried) == {"place": places[0], "status": "recorded", "version": 2}
    assert [row["place"] for row in parked()] == [places[1]]
    told = caller.get(f"/events/{early.event_id}").json()
    assert (told["status"], told["version"]) == ("recorded", 2)
    unread = own_system.try_lockstream("parked", "retry", places[1])
    assert (unread.returncode, "--value" in unread.stderr) == (2, True)
    assert own_system.lockstream("parked", "show", places[1]).encode().strip() == odd
    repaired = own_system.folder / "repaired.json"
    repaired.write_bytes(encode_fact(temp_key_used(900, org_id="demo")))
    mended = own_system.lockstream("parked", "retry", places[1], "--value", str(repaired), "--json")
    assert json.loads(mended)["version"] == 3
    assert parked() == []
    states = json.loads(own_system.lockstream("parked", "list", "--state", "all", "--json"))
    assert [(row["state"], row["version"]) for row in states] == [
        ("recorded", 2),
        ("recorded", 3),
        ("recorded", 2),
    ]
    told = own_system.try_lockstream("parked", "discard", places[0], "--why", "no longer needed")
    assert (told.returncode, "recorded as version 2" in told.stderr) == (2, True)
    assert json.loads(own_system.lockstream("status", "--json"))["parked"] == 0
    own_system.lockstream("verify")
    caller.close()


def test_parked_facts_are_discarded_on_record_or_retried_all_at_once(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    early = [temp_key_used(lock_id, org_id="demo") for lock_id in range(900, 905)]
    kafka = kafka_of(own_system)
    asyncio.run(write_facts(kafka, "lock-facts", PARTITIONS, early))
    for value in (b'{"a":"\xff"}', b"[", b"{}"):
        asyncio.run(write_raw(kafka, "lock-facts", 0, b"1", value))

    def parked(*options: str) -> list[dict[str, Any]]:
        return list(json.loads(own_system.lockstream("parked", "list", "--json", *options)))

    def refused(*arguments: str, exit_code: int = 2) -> str:
        done = own_system.try_lockstream("parked", *arguments)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (exit_code, "", 1)
        return done.stderr

    def waiting() -> int:
        return int(json.loads(own_system.lockstream("status", "--json"))["parked"])

    deadline = time.monotonic() + 20
    while len(parked()) < 8:
        assert time.monotonic() < deadline
    assert len(parked("--limit", "3")) == 3

    # Discarded: each once, all or nothing, and told who did it and why.
    bad = [row["place"] for row in parked("--reason", "undecodable")]
    why = ("--why", "a writer that is gone", "--by", "alice", "--json")
    assert "no parked fact" in refused("discard", bad[0], "0:999", *why)
    done = json.loads(own_system.lockstream("parked", "discard", bad[0], bad[1], *why))
    assert done == {"discarded": 2, "places": bad[:2], "by": "alice", "why": why[1]}
    assert "discarded by alice" in refused("discard", bad[2], bad[0], *why)
    assert "discarded by alice" in refused("retry", bad[0])
    by_reason = ("discard", "--all", "--reason", "undecodable", *why)
    assert json.loads(own_system.lockstream("parked", *by_reason))["places"] == bad[2:]
    assert waiting() == 5
    discarded = parked("--state", "discarded")
    assert [row["place"] for row in discarded] == bad
    assert {(row["discarded"]["by"], row["discarded"]["why"]) for row in discarded} == {
        ("alice", "a writer that is gone")
    }

    # Retried: all of one reason, some of which can be recorded by now.
    own_system.lockstream("lock", "add", "--id", "900", "--org", "demo")
    retry = ("parked", "retry", "--all", "--reason", "unknown-lock", "--json")
    for recorded in (1, 0):
        again = own_system.try_lockstream(*retry)
        outcome = json.loads(again.stdout)
        assert (again.returncode, outcome["recorded"], outcome["parkedAgain"]) == (1, recorded, 4)
        assert {f["reason"] for f in outcome["failures"]} == {"unknown-lock"}
    # However often a fact is parked again, it waits once.
    assert sorted(row["lockId"] for row in parked()) == [901, 902, 903, 904]
    assert waiting() == 4
    first = parked("--state", "parked-again")[0]
    assert "was parked again as" in refused("discard", first["place"], *why)
    (done_with,) = parked("--state", "recorded")
    assert (done_with["lockId"], done_with["version"]) == (900, 2)


def test_a_partner_that_is_added_now_gets_only_what_comes_after(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    caller = Caller(own_system.env)
    caller.use()
    own_system.lockstream("partner", "add", "--id", "late", "--org", "demo", "--from", "now")
    version = caller.use().json()["version"]
    kafka = kafka_of(own_system)

    async def delivered() -> list[int]:
        async def any_yet() -> bool:
            return bool(await read_all(kafka, "partner.late.lock-events", PARTITIONS))

        await eventually(any_yet)
        records = await read_all(kafka, "partner.late.lock-events", PARTITIONS)
        return [decode_envelope(r.value or b"").detail.version for r in records]

    assert asyncio.run(delivered()) == [version]
    twice = own_system.try_lockstream("partner", "add", "--id", "late", "--org", "other")
    assert twice.returncode == 2
    assert "exists already" in twice.stderr
    caller.close()


def test_a_missing_broker_is_one_clear_line(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    done = system.try_lockstream("lock", "show", "1", timeout_s=30)
    assert done.returncode != 0
    done = system.try_lockstream("org", "add", "--id", "acme", timeout_s=30)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:1" in done.stderr
