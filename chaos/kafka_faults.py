"""Injects faults of the way to Kafka, and of Kafka itself."""

import asyncio
from functools import partial

from chaos.replicas import DELIVERING, ROLES
from chaos.scene import AT_ONCE_S, SESSION_S, Fault, Scene

DELAY_S = 0.25
SPOILT_S = (3.0, 6.0)
CUT_S = (4.0, 20.0)
RESETS = 5
END_TXN_DELAY_S = 12.0
"""Past the 8 s that a writer waits for its commit, and the client's own 10 s."""
END_TXN_FOR_S = 4.0
BROKER_PAUSE_S = 30.0
IN_SYNC_S = 60.0


def link_faults() -> list[Fault]:
    faults: list[Fault] = []
    for role in ROLES:
        touches = frozenset({f"link of {role}"})
        faults += [
            Fault(f"delays between {role} and Kafka", touches, partial(_delay, role)),
            Fault(f"nothing passes between {role} and Kafka", touches, partial(_cut, role)),
            Fault(f"resets between {role} and Kafka", touches, partial(_reset, role)),
            Fault(f"half-closed between {role} and Kafka", touches, partial(_half_close, role)),
        ]
    for role in DELIVERING:
        touches = frozenset({f"link of {role}"})
        faults.append(
            Fault(f"answers to EndTxn delayed: {role}", touches, partial(_delay_end_txn, role))
        )
    return faults


def single_broker_faults() -> list[Fault]:
    touches = frozenset({"broker"})
    return [
        Fault("broker killed", touches, _kill_broker),
        Fault("broker restarted", touches, _restart_broker),
        Fault("broker paused for 30 s", touches, _pause_broker, 0.3),
    ]


def cluster_faults() -> list[Fault]:
    touches = frozenset({"broker"})
    return [
        Fault("one of three brokers killed", touches, _kill_one_of_three),
        Fault("one of three brokers down", touches, _lose_broker),
        Fault("rolling restart of three brokers", touches, _roll),
    ]


async def _delay(role: str, scene: Scene) -> None:
    link = scene.system.brokers.links[role]
    link.delay_s = DELAY_S
    await asyncio.sleep(scene.rng.uniform(*SPOILT_S))
    link.mend()
    await scene.recovers("delays over", AT_ONCE_S)


async def _cut(role: str, scene: Scene) -> None:
    link = scene.system.brokers.links[role]
    seconds = scene.rng.uniform(*CUT_S)
    link.cut()
    await asyncio.sleep(seconds)
    link.mend()
    # Beyond ten seconds sessions have expired, and the group has to be formed anew.
    await scene.recovers("mended", SESSION_S)


async def _reset(role: str, scene: Scene) -> None:
    link = scene.system.brokers.links[role]
    for _ in range(RESETS):
        link.reset()
        await asyncio.sleep(scene.rng.uniform(0.1, 0.8))
    await scene.recovers("last reset", AT_ONCE_S)


async def _half_close(role: str, scene: Scene) -> None:
    scene.system.brokers.links[role].half_close()
    await scene.recovers("half-closed", AT_ONCE_S)


async def _delay_end_txn(role: str, scene: Scene) -> None:
    link = scene.system.brokers.links[role]
    link.end_txn_delay_s = END_TXN_DELAY_S
    await asyncio.sleep(END_TXN_FOR_S)
    link.end_txn_delay_s = 0.0
    # What is held back already comes 12 s late: the writer has given up on it by then.
    await scene.recovers("EndTxn passes again", SESSION_S)


async def _kill_broker(scene: Scene) -> None:
    brokers = scene.system.brokers
    number = scene.rng.randrange(brokers.count)
    await brokers.kill_node(number)
    await brokers.start_node(number)
    await scene.recovers("broker back", AT_ONCE_S)


async def _kill_one_of_three(scene: Scene) -> None:
    await _kill_broker(scene)
    await scene.system.until_in_sync(IN_SYNC_S)


async def _restart_broker(scene: Scene) -> None:
    brokers = scene.system.brokers
    await brokers.stop_node(0)
    await brokers.start_node(0)
    await scene.recovers("broker back", AT_ONCE_S)


async def _pause_broker(scene: Scene) -> None:
    brokers = scene.system.brokers
    brokers.pause_node(0)
    await asyncio.sleep(BROKER_PAUSE_S)
    brokers.resume_node(0)
    # Every session has expired meanwhile.
    await scene.recovers("broker goes on", SESSION_S)


async def _lose_broker(scene: Scene) -> None:
    """Kills one of three brokers: two go on alone, before the third comes back."""
    brokers = scene.system.brokers
    number = scene.rng.randrange(brokers.count)
    await brokers.kill_node(number)
    await scene.recovers("two of three", SESSION_S)
    await brokers.start_node(number)
    await scene.recovers("three again", AT_ONCE_S)
    await scene.system.until_in_sync(IN_SYNC_S)


async def _roll(scene: Scene) -> None:
    """Restarts the brokers in turn as Kafka's operators do. The next one goes when no partition
    lacks a replica, else the two that it takes to write would not be there."""
    brokers = scene.system.brokers
    for number in range(brokers.count):
        await brokers.stop_node(number)
        await brokers.start_node(number)
        await scene.recovers(f"broker {number + 1} back", AT_ONCE_S)
        await scene.system.until_in_sync(IN_SYNC_S)
