"""Injects faults of processes: kills, stops, restarts, more and fewer of them, stepped clocks."""

import asyncio
import signal
from functools import partial

from chaos import steps
from chaos.clock import set_offset
from chaos.replicas import DELIVERING, ROLES, Replica
from chaos.scene import AT_ONCE_S, CRASH_S, SESSION_S, Fault, Scene

PAST_SESSION_S = (12.0, 14.0)
REACH_S = 10.0
HOUR_S = 3600
CLOCK_OFF_S = 3.0


def process_faults() -> list[Fault]:
    faults: list[Fault] = []
    for role in ROLES:
        touches = frozenset({role})
        faults += [
            Fault(f"kill {role}", touches, partial(_kill, role)),
            Fault(f"restart {role}", touches, partial(_restart, role)),
            Fault(f"lose a replica of {role}", touches, partial(_lose, role)),
            Fault(f"join and leave: {role}", touches, partial(_join_and_leave, role)),
            Fault(f"join and be killed: {role}", touches, partial(_join_and_die, role)),
            Fault(f"clock of {role} +1 h", touches, partial(_step_clock, role, HOUR_S)),
            Fault(f"clock of {role} -1 h", touches, partial(_step_clock, role, -HOUR_S)),
        ]
    for role in DELIVERING:
        touches = frozenset({role})
        faults.append(Fault(f"stop {role} past its session", touches, partial(_stop, role)))
        for place in steps.places(role):
            faults += [
                Fault(f"kill {role} {place}", touches, partial(_kill_at, role, place)),
                Fault(f"stop {role} {place}", touches, partial(_stop_at, role, place), 0.25),
            ]
    return faults


async def _kill(role: str, scene: Scene) -> None:
    scene.pick(role).signal(signal.SIGKILL)
    await scene.recovers("killed", CRASH_S)


async def _restart(role: str, scene: Scene) -> None:
    replica = scene.pick(role)
    await replica.stop()
    scene.system.start_replica(replica)
    await scene.recovers("restarted", AT_ONCE_S)


async def _lose(role: str, scene: Scene) -> None:
    replica = scene.pick(role)
    await replica.kill_for_good()
    await scene.recovers("lost", SESSION_S)
    if not scene.alone:
        await asyncio.sleep(scene.rng.uniform(*PAST_SESSION_S))
    scene.system.start_replica(replica)
    await scene.recovers("back", AT_ONCE_S)


async def _join(role: str, scene: Scene) -> Replica:
    replica = scene.system.fleet.spare(role)
    scene.system.start_replica(replica)
    await scene.recovers("joined", AT_ONCE_S)
    if not scene.alone:
        await asyncio.sleep(scene.rng.uniform(1.0, 5.0))
    return replica


async def _join_and_leave(role: str, scene: Scene) -> None:
    replica = await _join(role, scene)
    await replica.stop()
    await scene.recovers("left", SESSION_S)


async def _join_and_die(role: str, scene: Scene) -> None:
    replica = await _join(role, scene)
    await replica.kill_for_good()
    await scene.recovers("died", SESSION_S)


async def _stop(role: str, scene: Scene) -> None:
    replica = scene.pick(role)
    pid = replica.signal(signal.SIGSTOP)
    await _wake(role, pid, scene)


async def _wake(role: str, pid: int, scene: Scene) -> None:
    """Lets another replica take over, then wakes the zombie, which must do no harm."""
    await scene.recovers("stopped", SESSION_S)
    if not scene.alone:
        await asyncio.sleep(scene.rng.uniform(*PAST_SESSION_S))
    _signal_if(scene, role, pid, signal.SIGCONT)
    await scene.recovers("woken", SESSION_S)


def _signal_if(scene: Scene, role: str, pid: int, kind: signal.Signals) -> None:
    """Signals the process, if it is still this replica's."""
    for replica in scene.system.fleet.running(role):
        if replica.pid == pid:
            replica.signal(kind)


async def _kill_at(role: str, place: str, scene: Scene) -> None:
    if await _obeyed(role, "kill", place, scene) is not None:
        await scene.recovers("killed", CRASH_S)


async def _stop_at(role: str, place: str, scene: Scene) -> None:
    pid = await _obeyed(role, "stop", place, scene)
    if pid is not None:
        await _wake(role, pid, scene)


async def _obeyed(role: str, act: steps.Act, place: str, scene: Scene) -> int | None:
    """Returns the pid of the replica that came to the place, if one did."""
    replica = scene.pick(role)
    pid = replica.pid
    steps.order(replica.orders, act, place)
    try:
        async with asyncio.timeout(REACH_S):
            while steps.is_pending(replica.orders):  # noqa: ASYNC110 - it changes elsewhere
                await asyncio.sleep(0.01)
    except TimeoutError:
        steps.withdraw(replica.orders)
        scene.skip(f"{replica.name} did not come to {place} in time")
        return None
    return pid


async def _step_clock(role: str, offset_s: int, scene: Scene) -> None:
    replica = scene.pick(role)
    set_offset(replica.clock, offset_s)
    await scene.recovers("stepped", AT_ONCE_S)
    await asyncio.sleep(CLOCK_OFF_S)
    set_offset(replica.clock, 0)
    await scene.recovers("stepped back", AT_ONCE_S)
