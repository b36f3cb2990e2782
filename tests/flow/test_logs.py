"""What the roles write into their logs, and what never stands there."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually

pytestmark = pytest.mark.timeout(240)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def lines_of(system: RunningSystem, role: str) -> list[dict[str, Any]]:
    text = (system.folder / "logs" / f"{role}.log").read_text()
    # The last line may be half written.
    return [json.loads(line) for line in text.split("\n")[:-1]]


def access_lines(system: RunningSystem) -> list[dict[str, Any]]:
    return [line for line in lines_of(system, "api") if line["logger"] == "lockstream.access"]


async def line_of_request(system: RunningSystem, request_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def written() -> bool:
        found[:] = [ln for ln in access_lines(system) if ln["request_id"] == request_id]
        return bool(found)

    await eventually(written)
    assert len(found) == 1
    return found[0]


async def test_every_request_leaves_one_line_that_tells_whose_it_was(
    running_system: RunningSystem,
) -> None:
    caller = Caller(running_system.env)
    traced = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-00", "X-Request-Id": "log-1"}
    assert caller.use(headers=traced).status_code == 200
    line = await line_of_request(running_system, "log-1")
    assert 0 < line.pop("duration_ms") < 20_000
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "lockstream.access",
        "message": "POST /locks/{id}/use-temp-key 200",
        "method": "POST",
        "route": "/locks/{id}/use-temp-key",
        "status": 200,
        "request_id": "log-1",
        "client": "127.0.0.1",
        "trace_id": TRACE_ID,
        "key_id": running_system.env["API_KEY"].split("_")[2],
        "org_id": "demo",
    }
    foreign = {"Authorization": "Bearer x", "X-Request-Id": "log-0"}
    assert caller.use(headers=foreign).status_code == 401
    of_the_key = await line_of_request(running_system, "log-0")
    assert (of_the_key["key_id"], of_the_key["org_id"]) == (line["key_id"], "demo")
    generated = caller.use(headers={"Authorization": None})
    assert generated.status_code == 401
    refused = await line_of_request(running_system, generated.headers["x-request-id"])
    assert (refused["status"], refused["route"]) == (401, "/locks/{id}/use-temp-key")
    assert refused.keys().isdisjoint({"key_id", "org_id", "trace_id"})
    assert caller.use(content=b"x" * 20_000, headers={"X-Request-Id": "log-2"}).status_code == 413
    assert (await line_of_request(running_system, "log-2"))["route"] == "/locks/{id}/use-temp-key"
    caller.get("/readyz", headers={"X-Request-Id": "log-3"})
    caller.get("/nowhere/at/all", headers={"X-Request-Id": "log-4"})
    caller.close()
    assert (await line_of_request(running_system, "log-4"))["route"] == "unmatched"
    assert "log-3" not in {line["request_id"] for line in access_lines(running_system)}


async def test_no_log_of_any_role_holds_a_secret_a_key_a_token_or_a_body(
    own_system: RunningSystem,
) -> None:
    own_system._environment["LOCKSTREAM_LOG_LEVEL"] = "DEBUG"
    own_system._environment["LOCKSTREAM_ANSWER_TIMEOUT"] = "20"
    own_system.start()
    env, caller = own_system.env, Caller(own_system.env)
    secret, wrong = "a-secret-in-a-body", env["API_KEY"][:-3] + "zzz"
    body = {"tempKeyUuid": secret, "userId": f"user-of-{secret}"}
    last = {"X-Request-Id": "the-last"}
    assert caller.use(body=body, key=f"key-{secret}").status_code == 200
    assert caller.use(body=body, key=f"key-{secret}").status_code == 200
    assert caller.use(body={**body, "more": secret}).status_code == 400
    assert caller.use(content=json.dumps(body).encode()[:-1]).status_code == 400
    assert caller.use(body=body, headers={"X-API-Key": wrong}).status_code == 401
    assert caller.use(body=body, headers={"X-API-Key": secret}).status_code == 401
    spoiled = {"Authorization": f"Bearer {env['TOKEN'][:-4]}AAAA"}
    assert caller.use(body=body, headers=spoiled).status_code == 401
    assert caller.use(body=body, headers={"Authorization": f"Basic {secret}"}).status_code == 401
    assert caller.use(quote(secret), body).status_code == 400
    assert (
        caller.get(f"/locks/123?api_key={env['API_KEY']}&token={env['TOKEN']}").status_code == 400
    )
    own_system.kill("PROJECTOR")
    own_system.wait_until_ready()
    assert caller.use(body=body, headers=last).status_code in (200, 202)
    caller.close()
    await line_of_request(own_system, "the-last")
    assert own_system.stop() == 0

    signature = env["TOKEN"].rpartition(".")[2]
    api_secret = env["API_KEY"].split("_", 3)[3]
    forbidden = [env["API_KEY"], api_secret, wrong, env["TOKEN"], signature, secret]
    files = sorted((own_system.folder / "logs").glob("*"))
    assert {file.stem for file in files} >= {"api", "projector", "fanout"}
    for file in files:
        text = file.read_text()
        assert text, file
        for value in forbidden:
            assert value not in text, (file.name, value)


async def test_access_lines_can_be_switched_off(own_system: RunningSystem) -> None:
    own_system._environment["LOCKSTREAM_ACCESS_LOG"] = "false"
    own_system.start()
    caller = Caller(own_system.env)
    assert caller.use().status_code == 200
    caller.close()
    assert own_system.stop() == 0
    assert access_lines(own_system) == []
    assert lines_of(own_system, "api")
