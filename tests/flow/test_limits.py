"""Limits as an operator sets them, on a replica of its own."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.flow.facts import recorded_facts
from tests.flow.replica import Replica, second_api
from tests.jwks_server import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def limited(running_system: RunningSystem) -> Iterator[Replica]:
    with second_api(
        running_system,
        LOCKSTREAM_ORGANIZATION_RATE_LIMIT="5",
        LOCKSTREAM_KEY_RATE_LIMIT="3",
        LOCKSTREAM_RATE_LIMIT_WINDOW="86400",
        LOCKSTREAM_TRUSTED_HOSTS="127.0.0.1, api.example.org",
        LOCKSTREAM_TRUSTED_PROXIES="127.0.0.0/8",
    ) as replica:
        yield replica


def test_a_caller_above_its_limit_gets_429_and_nothing_is_recorded(
    limited: Replica, running_system: RunningSystem
) -> None:
    caller = Caller({**running_system.env, "BASE_URL": limited.url})
    other_key = running_system.lockstream("key", "issue", "--org", "demo").strip()
    policy = '"organization";q=5;w=86400, "key";q=3;w=86400'
    for left in (2, 1, 0):
        answer = caller.use()
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == policy
        assert f'"key";r={left};t=' in answer.headers["ratelimit"]
    facts = recorded_facts(caller.env)
    refused = caller.use(key="limited-1")
    assert refused.status_code == refused.json()["code"] == 429
    assert 0 < int(refused.headers["retry-after"]) <= 86400
    assert '"key";r=0;t=' in refused.headers["ratelimit"]
    assert refused.headers["ratelimit-policy"] == policy
    assert recorded_facts(caller.env) == facts

    def status_with_the_other_key() -> int:
        return caller.get("/locks/123", {"X-API-Key": other_key}).status_code

    wait_until(lambda: status_with_the_other_key() == 200)
    assert [status_with_the_other_key() for _ in range(3)] == [200, 429, 429]
    bad = caller.use(headers={"X-API-Key": "lk_live_nobody"})
    assert bad.status_code == 401
    assert "ratelimit" not in bad.headers
    assert httpx.get(limited.url + "/readyz").status_code == 200
    caller.close()


def test_only_trusted_hosts_are_served_and_a_trusted_proxy_names_the_caller(
    limited: Replica, running_system: RunningSystem
) -> None:
    caller = Caller({**running_system.env, "BASE_URL": limited.url})
    facts = recorded_facts(caller.env)
    wrong = caller.use(headers={"Host": "evil.example.org", "X-Request-Id": "host-1"})
    assert wrong.status_code == 400
    assert [d["field"] for d in wrong.json()["details"]] == ["Host"]
    assert recorded_facts(caller.env) == facts
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Request-Id": "host-2"}
    assert caller.use(headers={"Host": "api.example.org:443", **forwarded}).status_code == 200
    caller.close()

    def logged() -> dict[str, str]:
        lines = [json.loads(line) for line in limited.log.read_text().split("\n")[:-1]]
        return {ln["request_id"]: ln["client"] for ln in lines if "client" in ln}

    wait_until(lambda: "host-2" in logged(), 10.0)
    assert logged()["host-1"] == "127.0.0.1"
    assert logged()["host-2"] == "203.0.113.9"


def test_without_limits_nothing_is_said_about_them(running_system: RunningSystem) -> None:
    caller = Caller(running_system.env)
    answer = caller.use()
    assert "ratelimit" not in answer.headers
    assert "ratelimit-policy" not in answer.headers
    caller.close()
