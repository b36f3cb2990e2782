"""From HTTP to the partner's record and the replay, as a user runs it; and what happens to it."""

import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lockstream.eventlog.kafka import Kafka
from lockstream.runtime.settings import Settings
from lockstream.schemas.partner_events import PartnerPosition, decode_envelope
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, read_all

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

    assert "4 events" in own_system.try_lockstream("rebuild").stderr
    assert caller.get("/locks/123?minVersion=4").json()["version"] == 4

    assert own_system.stop() == 0
    assert own_system.said.rstrip().endswith("stopped")
    assert own_system.start() < 10
    again = Caller(own_system.env)
    assert own_system.env["API_KEY"] == env["API_KEY"]
    assert again.use().json()["version"] == 5
    caller.close()
    again.close()


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


def test_a_missing_broker_is_one_clear_line(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    done = system.try_lockstream("lock", "show", "1", timeout_s=30)
    assert done.returncode != 0
    done = system.try_lockstream("org", "add", "--id", "acme", timeout_s=30)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:1" in done.stderr
