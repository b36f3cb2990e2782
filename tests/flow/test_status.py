"""`lockstream status`: what runs, how far it is, and what holds it up."""

import json
import os
import signal
from typing import Any

import pytest

from eventlog.kafka import Kafka
from runtime.settings import Settings
from schemas.topics import lock_key
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, write_raw

pytestmark = pytest.mark.timeout(240)


def status_of(system: RunningSystem) -> Any:
    return json.loads(system.lockstream("status", "--json"))


def stage(status: Any, name: str) -> Any:
    return next(found for found in status["stages"] if found["name"] == name)


async def test_status_shows_replicas_partitions_positions_and_lag(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    caller = Caller(own_system.env)
    assert [caller.use().status_code for _ in range(5)] == [200] * 5
    caller.close()
    names = ("projector", "partner demo-partner")

    async def all_done() -> bool:
        # Checkpoints are written every 5 seconds.
        found = status_of(own_system)
        return found["ok"] and all(stage(found, name)["lag"] == 0 for name in names)

    await eventually(all_done)
    found = status_of(own_system)
    assert [page["state"] for page in found["pages"]] == ["ready"] * 3
    assert found["parked"] == 0
    for name in names:
        shown = stage(found, name)
        assert shown["state"] == "running"
        assert len(shown["replicas"]) == 1
        assert shown["replicas"][0]["name"].startswith("up-")
        assert shown["replicas"][0]["partitions"] == list(range(12))
        assert shown["unowned"] == []
    assert sum(p["position"] for p in stage(found, "projector")["partitions"].values()) == 6
    screen = own_system.lockstream("status", "--partitions")
    assert "demo-partner" in screen
    assert "parked facts that wait: 0" in screen

    os.kill(int(own_system.env["FANOUT_PID"]), signal.SIGSTOP)
    caller = Caller(own_system.env)
    assert caller.use().status_code == 200
    caller.close()

    async def behind() -> bool:
        late = stage(status_of(own_system), "partner demo-partner")
        return bool(late["lag"] > 0 and late["lagSeconds"] > 0)

    await eventually(behind)
    os.kill(int(own_system.env["FANOUT_PID"]), signal.SIGCONT)


async def test_a_stage_that_had_to_stop_says_so_in_readyz_status_and_once_in_the_log(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    kafka = Kafka(
        Settings(kafka_bootstrap_servers=own_system.env["KAFKA_BOOTSTRAP_SERVERS"]), "test"
    )
    offset = await write_raw(kafka, "lock-events", 3, lock_key(1), b"{}")

    async def said() -> bool:
        found = status_of(own_system)
        reasons = " ".join(r for page in found["pages"] for r in page["obstacles"].values())
        return not found["ok"] and f"lock-events[3] offset {offset}" in reasons

    await eventually(said)
    log = (own_system.folder / "logs" / "fanout.log").read_text()
    errors = [line for line in log.splitlines() if '"ERROR"' in line and "stopped" in line]
    assert len(errors) == 1
    assert f"lock-events[3] offset {offset}" in own_system.lockstream("status")
