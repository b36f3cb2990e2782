"""``Idempotency-Key``: one event for one key, wherever and whenever it is repeated."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.flow.facts import recorded_facts
from tests.flow.replica import second_api

pytestmark = pytest.mark.timeout(300)
REPEATS = 50


def new_key() -> str:
    return str(uuid.uuid4())


def test_repeats_on_another_replica_are_answered_as_the_first_and_record_nothing(
    running_system: RunningSystem,
) -> None:
    with (
        second_api(running_system) as replica,
        closing(Caller(running_system.env)) as here,
        closing(Caller({**running_system.env, "BASE_URL": replica.url})) as there,
    ):
        key = new_key()
        first = here.use(key=key)
        facts = recorded_facts(here.env)
        bare, quoted = there.use(key=key), there.use(key=f'"{key}"')
        assert first.status_code == bare.status_code == quoted.status_code == 200
        assert first.content == bare.content == quoted.content
        assert "idempotent-replayed" not in first.headers
        assert (
            bare.headers["idempotent-replayed"] == quoted.headers["idempotent-replayed"] == "true"
        )
        assert there.use(body={"tempKeyUuid": "another"}, key=key).status_code == 422
        assert there.use(body={"tempKeyUuid": "example_string"}, key=key).status_code == 422
        assert recorded_facts(here.env) == facts


def test_concurrent_repeats_on_two_replicas_give_one_event_and_equal_answers(
    running_system: RunningSystem,
) -> None:
    with (
        second_api(running_system) as replica,
        closing(Caller(running_system.env)) as here,
        closing(Caller({**running_system.env, "BASE_URL": replica.url})) as there,
    ):
        callers = [here, there]
        before = here.use().json()["version"]
        for _ in range(5):
            key = new_key()
            with ThreadPoolExecutor(REPEATS // 2) as pool:
                answers = list(pool.map(lambda n, k=key: callers[n % 2].use(key=k), range(REPEATS)))
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            firsts = [a for a in answers if "idempotent-replayed" not in a.headers]
            assert len(firsts) == 1
            assert answers[0].json()["version"] == (before := before + 1)
        after = here.use().json()["version"]
        assert after == before + 1


def test_repeats_after_a_restart_of_everything_get_the_original_answer(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    key = new_key()
    with closing(Caller(own_system.env)) as caller:
        first = caller.use(key=key)
        later = [caller.use().json()["version"] for _ in range(3)]
    assert own_system.stop() == 0
    own_system.start()
    with closing(Caller(own_system.env)) as caller:
        facts = recorded_facts(caller.env)
        again = caller.use(key=key)
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["idempotent-replayed"] == "true"
        assert caller.use(body={"tempKeyUuid": "another"}, key=key).status_code == 422
        assert recorded_facts(caller.env) == facts
        assert caller.use().json()["version"] == later[-1] + 1


def test_one_key_of_two_organisations_is_two_keys(running_system: RunningSystem) -> None:
    running_system.lockstream("org", "add", "--id", "neighbour")
    running_system.lockstream("lock", "add", "--id", "779001", "--org", "neighbour")
    theirs = running_system.lockstream("key", "issue", "--org", "neighbour").strip()
    key = new_key()
    with closing(Caller(running_system.env)) as caller:
        ours = caller.use(key=key)
        facts = recorded_facts(caller.env)
        neighbour = caller.use(779001, key=key, headers={"X-API-Key": theirs})
        assert ours.status_code == neighbour.status_code == 200
        assert "idempotent-replayed" not in neighbour.headers
        assert ours.json()["event"]["id"] != neighbour.json()["event"]["id"]
        assert recorded_facts(caller.env) == facts + 1


def test_a_refused_command_is_not_remembered(running_system: RunningSystem) -> None:
    key = new_key()
    with closing(Caller(running_system.env)) as caller:
        assert caller.use(body={"tempKeyUuid": ""}, key=key).status_code == 400
        assert caller.use(999_999_999, key=key).status_code == 404
        accepted = caller.use(key=key)
        assert accepted.status_code == 200
        assert "idempotent-replayed" not in accepted.headers
