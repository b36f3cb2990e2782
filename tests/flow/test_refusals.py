"""Where a command is refused: the status, the shape, and that nothing stands in ``lock-facts``."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx
import pytest

from tests.flow.client import BODY, Caller
from tests.flow.conftest import RunningSystem
from tests.flow.facts import recorded_facts

LEAKS = ("Traceback", 'File "', ".py", "site-packages", "lockstream.", "sqlite", "Kafka")
FOREIGN_LOCK, NO_LOCK = 778_001, 778_002


@pytest.fixture
def caller(running_system: RunningSystem) -> Iterator[Caller]:
    caller = Caller(running_system.env)
    yield caller
    caller.close()


REFUSED: dict[str, tuple[int, dict[str, Any], list[str] | None]] = {
    "path": (400, {"lock_id": "zero"}, ["id"]),
    "path too large": (400, {"lock_id": 2**63}, ["id"]),
    "no body": (400, {"content": b""}, ["body"]),
    "half a body": (400, {"content": b'{"tempKeyUuid":"x"'}, ["body"]),
    "a list": (400, {"content": b"[]"}, ["body"]),
    "mistyped field": (400, {"body": {**BODY, "userID": "x"}}, ["userID"]),
    "empty field": (400, {"body": {"tempKeyUuid": ""}}, ["tempKeyUuid"]),
    "control character": (400, {"body": {"tempKeyUuid": "a\nb"}}, ["tempKeyUuid"]),
    "key": (400, {"headers": {"Idempotency-Key": "x" * 256}}, ["Idempotency-Key"]),
    "all together": (
        400,
        {
            "lock_id": "0",
            "body": {"tempKeyUuid": 5, "userId": "", "more": 1},
            "headers": {"Idempotency-Key": '""'},
        },
        ["id", "Idempotency-Key", "more", "tempKeyUuid", "userId"],
    ),
    "no token": (401, {"headers": {"Authorization": None}}, None),
    "no key": (401, {"headers": {"X-API-Key": None}}, None),
    "bad token": (401, {"headers": {"Authorization": "Bearer a.b.c"}}, None),
    "no such lock": (404, {"lock_id": NO_LOCK}, None),
    "another's lock": (404, {"lock_id": FOREIGN_LOCK}, None),
    "too large": (413, {"content": b" " * 16_385}, None),
    "no JSON": (415, {"headers": {"Content-Type": "text/plain"}}, None),
    "compressed": (415, {"headers": {"Content-Encoding": "gzip"}}, None),
}


@pytest.fixture(scope="module")
def foreign_lock(running_system: RunningSystem) -> int:
    running_system.lockstream(
        "lock", "add", "--id", str(FOREIGN_LOCK), "--org", "stranger", "--force"
    )
    return FOREIGN_LOCK


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_shape_leaks_nothing_and_records_nothing(
    case: str, caller: Caller, foreign_lock: int, running_system: RunningSystem
) -> None:
    status, request, named = REFUSED[case]
    before = recorded_facts(caller.env)
    answer = caller.use(**request)
    problem_headers = {**request.get("headers", {}), "Accept": "application/problem+json"}
    problem = caller.use(**{**request, "headers": problem_headers})
    assert recorded_facts(caller.env) == before

    body = answer.json()
    assert answer.status_code == body["code"] == status
    assert set(body) == {"error", "message", "code"} | ({"details"} if named else set())
    assert [d["field"] for d in body.get("details", [])] == (named or [])
    assert problem.status_code == problem.json()["status"] == status
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["detail"] == body["message"]
    for each in (answer, problem):
        assert each.headers["vary"] == "Accept"
        assert each.headers["cache-control"] == "no-store"
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["x-request-id"]
        leaks = (*LEAKS, str(running_system.folder), str(Path(__file__).parents[2]))
        assert not [leak for leak in leaks if leak in each.text]


def test_a_head_that_is_too_large_records_nothing(caller: Caller) -> None:
    before = recorded_facts(caller.env)
    answer = caller.use(headers={"X-Padding": "x" * 17_000})
    assert answer.status_code == answer.json()["code"] == 431
    assert recorded_facts(caller.env) == before


def test_reading_names_the_bad_fields_of_path_and_query_together(caller: Caller) -> None:
    answer = caller.get("/locks/x/events?limit=0&afterVersion=a&page=1&page=2")
    fields = [detail["field"] for detail in answer.json()["details"]]
    assert (answer.status_code, fields) == (400, ["id", "page", "afterVersion", "limit"])


def test_credentials_in_trailers_do_not_count(caller: Caller) -> None:
    before = recorded_facts(caller.env)
    base = httpx.URL(caller.env["BASE_URL"])
    content = json.dumps(BODY).encode()
    trailers = "".join(f"{name}: {value}\r\n" for name, value in caller.credentials.items())
    request = (
        f"POST /locks/123/use-temp-key HTTP/1.1\r\nHost: {base.host}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        "Trailer: Authorization, X-API-Key\r\n\r\n"
        f"{len(content):x}\r\n{content.decode()}\r\n0\r\n{trailers}\r\n"
    )

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(base.host, base.port)
        writer.write(request.encode())
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line

    assert b" 401 " in asyncio.run(ask())
    assert recorded_facts(caller.env) == before


def test_no_time_tells_anothers_lock_from_none(caller: Caller, foreign_lock: int) -> None:
    times: dict[int, list[float]] = {foreign_lock: [], NO_LOCK: []}
    for round_ in range(220):
        for lock_id in (foreign_lock, NO_LOCK) if round_ % 2 else (NO_LOCK, foreign_lock):
            begun = perf_counter()
            answer = caller.use(lock_id) if round_ % 4 < 2 else caller.get(f"/locks/{lock_id}")
            assert answer.status_code == 404
            if round_ >= 20:
                times[lock_id].append(perf_counter() - begun)
    theirs, none = median(times[foreign_lock]), median(times[NO_LOCK])
    assert 0.75 < theirs / none < 1.33, (theirs, none)


@pytest.mark.parametrize(
    "verb",
    [
        ("lock", "add", "--id", "700300"),
        ("key", "issue"),
        ("partner", "add", "--id", "mistyped"),
        ("token", "mint", "--sub", "s"),
    ],
    ids=lambda verb: " ".join(verb[:2]),
)
def test_a_verb_refuses_an_organisation_that_is_not_registered_unless_it_is_meant(
    running_system: RunningSystem, verb: tuple[str, ...]
) -> None:
    refused = running_system.try_lockstream(*verb, "--org", "acne")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "there is no organisation acne; `lockstream org add --id acne`" in refused.stderr
    assert refused.stdout == ""
    meant = running_system.try_lockstream(*verb, "--org", "acne", "--force")
    assert meant.returncode == 0, meant.stderr
