"""Why a role is not ready: each obstacle by its name, said once."""

import logging

import pytest

from runtime.readiness import Readiness


def test_a_role_is_ready_once_every_obstacle_is_gone() -> None:
    readiness = Readiness()
    states = [(readiness.ready, readiness.obstacles)]
    readiness.block("kafka", "it does not answer")
    readiness.block("read model", "it is locked")
    states.append((readiness.ready, readiness.obstacles))
    readiness.clear("kafka")
    readiness.clear("nothing")
    states.append((readiness.ready, readiness.obstacles))
    readiness.clear("read model")
    states.append((readiness.ready, readiness.obstacles))
    assert states == [
        (True, {}),
        (False, {"kafka": "it does not answer", "read model": "it is locked"}),
        (False, {"read model": "it is locked"}),
        (True, {}),
    ]


def test_whoever_looks_at_the_obstacles_changes_none() -> None:
    readiness = Readiness()
    readiness.block("kafka", "it does not answer")
    readiness.obstacles.clear()
    assert not readiness.ready


def test_an_obstacle_is_logged_when_it_comes_changes_or_goes_and_not_in_a_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "runtime.readiness")
    readiness = Readiness()
    for reason in ("away", "away", "away", "refused", "refused"):
        readiness.block("kafka", reason)
    readiness.clear("kafka")
    readiness.clear("kafka")
    readiness.block("kafka", "refused")
    assert caplog.messages == [
        "kafka: away",
        "kafka: refused",
        "kafka: working",
        "kafka: refused",
    ]
