"""What a fault, and the recovery from it, is blamed for."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from chaos import replicas
from chaos.campaign import Campaign, Part, Plan
from chaos.data_faults import Poison, _check_parked, _rebuild
from chaos.history import Broken
from chaos.partner_faults import _check_caught_up, _check_memory
from chaos.replicas import Replica
from chaos.scene import Fault, Injection, Scene, run_fault
from chaos.system import Recovery, System
from eventlog.records import Record
from runtime.errors import KafkaUnavailable
from schemas.parked_facts import ParkedHeaders, Reason
from support.postgres import NoPostgres
from tests.examples_of import TIME
from tests.unit.chaos.planted import finds
from tests.unit.chaos.scripted import NEVER, Scripted

SLOW = Recovery(20.0, 21.0)


async def nothing(scene: Scene) -> None:
    """A fault that breaks nothing."""


async def too_late(scene: Scene) -> None:
    raise TimeoutError


async def no_broker(scene: Scene) -> None:
    raise KafkaUnavailable("there is none")


async def run(system: Scripted, inject: object = nothing, *, alone: bool = True) -> Injection:
    fault = Fault("a fault", frozenset(), inject)  # type: ignore[arg-type]
    return await run_fault(fault, system, Random(0), 1.0, alone=alone)


async def test_a_fault_from_which_all_recovers_in_time_is_blamed_for_nothing(
    system: Scripted,
) -> None:
    async def breaks(scene: Scene) -> None:
        await scene.recovers("broken", 3.0)

    injection = await run(system, breaks)
    assert (injection.broken, len(injection.measured)) == ([], 1)


@finds("everything recovers within its bound")
async def test_a_recovery_that_takes_longer_than_its_bound_is_found(
    system: Scripted,
) -> list[Broken]:
    scene, injection = system.scene()
    system.recoveries = [SLOW]
    await scene.recovers("broken", 15.0)
    return injection.broken


@finds("everything recovers within its bound")
async def test_what_never_recovers_is_found(system: Scripted) -> list[Broken]:
    scene, injection = system.scene()
    system.recoveries = [NEVER]
    await scene.recovers("broken", 15.0)
    return injection.broken


async def test_a_recovery_beside_other_faults_is_held_to_no_bound(system: Scripted) -> None:
    scene, injection = system.scene(alone=False)
    system.recoveries = [NEVER]
    await scene.recovers("broken", 15.0)
    assert (injection.broken, injection.measured) == ([], [])


@finds("everything works before a fault")
@pytest.mark.parametrize("usual", [NEVER, Recovery(1.0, None)])
async def test_a_system_that_does_not_work_before_a_fault_is_found(
    system: Scripted, usual: Recovery
) -> list[Broken]:
    system.recoveries = [usual]
    return (await run(system)).broken


@finds("the fault could be injected")
@pytest.mark.parametrize("inject", [too_late, no_broker])
async def test_a_fault_that_can_not_be_injected_alone_is_found(
    system: Scripted, inject: object
) -> list[Broken]:
    return (await run(system, inject)).broken


async def test_a_fault_that_others_keep_from_being_injected_is_passed_over_and_named(
    system: Scripted,
) -> None:
    injection = await run(system, no_broker, alone=False)
    assert injection.broken == []
    assert "there is none" in injection.skipped


async def test_what_a_fault_breaks_is_told_with_the_fault_and_when_it_began(
    system: Scripted,
) -> None:
    scene, injection = system.scene()
    scene.broke("memory stays bounded", "it has taken all")
    expected = Broken("memory stays bounded", "a fault: it has taken all", injection.started_at)
    assert injection.broken == [expected]


@finds("the read model can be rebuilt under load")
async def test_a_rebuild_that_fails_is_found_once(system: Scripted) -> list[Broken]:
    scene, injection = system.scene()
    system.results = [(0, ""), (1, "lockstream: it is emptied by another")]
    await _rebuild(scene)
    return injection.broken


async def test_rebuilds_that_end_well_break_nothing(system: Scripted) -> None:
    scene, injection = system.scene()
    await _rebuild(scene)
    assert injection.broken == []


# -- poison ----------------------------------------------------------------------------------------

POISON = Poison(b"7", b"no fact", "undecodable")


def parked(
    reason: Reason = "undecodable", key: bytes | None = b"7", value: bytes | None = b"no fact"
) -> Record:
    headers = ParkedHeaders(reason, "", "lock-facts", 4, TIME)
    return Record(0, 0, 0, key, value, headers.to_kafka())


async def test_poison_that_is_parked_as_it_is_breaks_nothing(system: Scripted) -> None:
    scene, injection = system.scene()
    assert _check_parked(scene, POISON, "0:4", parked())
    assert injection.broken == []


@finds("what can't become an event is parked")
async def test_poison_that_vanishes_is_found(system: Scripted) -> list[Broken]:
    scene, injection = system.scene()
    assert not _check_parked(scene, POISON, "0:4", None)
    return injection.broken


@finds("a parked fact keeps its bytes and says why")
@pytest.mark.parametrize(
    "record",
    [parked("key-mismatch"), parked(value=b"No fact"), parked(value=None), parked(key=b"8")],
)
async def test_poison_that_is_parked_otherwise_is_found(
    system: Scripted, record: Record
) -> list[Broken]:
    scene, injection = system.scene()
    _check_parked(scene, POISON, "0:4", record)
    return injection.broken


# -- partners, memory, the cluster -----------------------------------------------------------------


@finds("partners that were held back catch up")
async def test_a_partner_that_does_not_catch_up_is_found(system: Scripted) -> list[Broken]:
    scene, injection = system.scene()
    _check_caught_up(scene, [], 150.0)
    _check_caught_up(scene, ["held-back-3"], 150.0)
    return injection.broken


class Ourselves(Replica):
    """This process, whose memory can be looked at."""

    @property
    def pid(self) -> int:
        return os.getpid()


@finds("memory stays bounded")
async def test_a_process_that_has_taken_more_than_it_may_is_found(
    system: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Broken]:
    scene, injection = system.scene()
    replica = Ourselves("api", 1, 0, tmp_path)
    monkeypatch.setattr(replicas, "MOST_MEMORY_MIB", 1 << 20)
    _check_memory(scene, replica)
    assert injection.broken == []
    monkeypatch.setattr(replicas, "MOST_MEMORY_MIB", 1)
    _check_memory(scene, replica)
    return injection.broken


@finds("the cluster could be tested")
@pytest.mark.parametrize("error", [NoPostgres("no server"), TimeoutError("it did not start")])
async def test_a_cluster_that_can_not_be_had_is_found(
    tmp_path: Path, error: Exception
) -> list[Broken]:
    class WithoutCluster(Campaign):
        @asynccontextmanager
        async def _cluster(self) -> AsyncIterator[System]:
            raise error
            yield  # type: ignore[unreachable]

    campaign = WithoutCluster(tmp_path, Plan(1, 1.0), lambda line: None)
    part = Part("three brokers", [Fault("a fault", frozenset(), nothing)], 1.0)
    await campaign._run_cluster(part)
    return campaign._broken
