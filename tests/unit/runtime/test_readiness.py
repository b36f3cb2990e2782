"""Why a role is not ready: each obstacle by its name, said once."""

import logging

import pytest

from lockstream.runtime.readiness import Readiness


def test_a_role_is_ready_once_every_obstacle_is_gone() -> None:
    readiness = Readiness()
    kafka, model = {"kafka": "it does not answer"}, {"read model": "it is locked"}
    assert (readiness.ready, readiness.obstacles) == (True, {})
    readiness.block("kafka", "it does not answer")
    readiness.block("read model", "it is locked")
    assert (readiness.ready, readiness.obstacles) == (False, {**kafka, **model})
    readiness.clear("kafka")
    readiness.clear("nothing")
    assert (readiness.ready, readiness.obstacles) == (False, model)
    readiness.clear("read model")
    assert (readiness.ready, readiness.obstacles) == (True, {})


def test_whoever_looks_at_the_obstacles_changes_none() -> None:
    readiness = Readiness()
    readiness.block("kafka", "it does not answer")
    readiness.obstacles.clear()
    assert not readiness.ready


def test_an_obstacle_is_logged_when_it_comes_changes_or_goes_and_not_in_a_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lockstream.runtime.readiness")
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
