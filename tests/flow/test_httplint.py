"""Sample answers of every status, read as HTTP's specifications read them."""

import socket
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from command_api.openapi_answers import REFUSALS
from operations.organizations.signing import local_issuer
from runtime.issuers import Issuer, write_issuers
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.flow.replica import second_api
from tests.http_notes import (
    PASSED_OVER,
    Exchange,
    complaints,
    exchange_of,
    names_of,
    plain_exchange,
)

pytestmark = pytest.mark.timeout(240)
PAGES = ("/openapi.json", "/asyncapi.json", "/docs", "/livez", "/readyz", "/metrics", "/nowhere")
FAULT = 500
"""Can't be had from outside: ``tests/integration/command_api/test_listening.py`` reads one."""


AWAY = Issuer(issuer="https://away.example/", audience="locks", jwks="http://127.0.0.1:9/jwks")
"""Nobody listens there."""


def token_of(issuer: Issuer) -> str:
    key = Ed25519PrivateKey.generate()
    now = int(time.time())
    claims = {"iss": issuer.issuer, "aud": issuer.audience, "sub": "s", "iat": now, "exp": now + 60}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "k"})


@pytest.fixture(scope="module")
def exchanges(running_system: RunningSystem) -> list[Exchange]:
    caller = Caller(running_system.env)
    samples = [exchange_of(answer) for answer in answers(caller, running_system)]
    # Nothing is known of an event so soon; a second request is one too many; an issuer can't be
    # asked for its keys; a head does not end.
    hurried = {
        "LOCKSTREAM_ANSWER_TIMEOUT": "0.0001",
        "LOCKSTREAM_KEY_RATE_LIMIT": "1",
        "LOCKSTREAM_RATE_LIMIT_WINDOW": "86400",
        "LOCKSTREAM_RECEIPT_TIMEOUT": "0.5",
        "LOCKSTREAM_JWT_ISSUERS": write_issuers([local_issuer(running_system.folder), AWAY]),
    }
    with second_api(running_system, **hurried) as replica:
        there = Caller({**running_system.env, "BASE_URL": replica.url})
        samples += [exchange_of(there.use()), exchange_of(there.use())]
        uncheckable = {"Authorization": f"Bearer {token_of(AWAY)}"}
        samples.append(exchange_of(there.use(headers=uncheckable)))
        there.close()
        samples.append(unfinished(replica.url))
    caller.close()
    return samples


def answers(caller: Caller, system: RunningSystem) -> Iterator[httpx.Response]:
    key = str(uuid.uuid4())
    scoped = system.lockstream("token", "mint", "--sub", "s", "--scope", "other").strip()
    yield (used := caller.use(key=key))
    yield caller.use(key=key)
    yield caller.get("/locks/123")
    yield caller.request("HEAD", "/locks/123")
    yield caller.get("/locks/123/events")
    yield caller.get(f"/events/{used.json()['event']['id']}")
    yield caller.use("x")
    yield caller.use("x", headers={"Accept": "application/problem+json"})
    yield caller.use(headers={"X-API-Key": None})
    yield caller.use(headers={"Authorization": "Bearer a.b.c"})
    yield caller.use(headers={"Authorization": f"Bearer {scoped}"})
    yield caller.use(4711)
    yield caller.request("PUT", "/locks/123")
    yield caller.request("OPTIONS", "/locks/123")
    yield caller.use(content=b" " * 17_000)
    yield caller.use(headers={"Content-Type": "text/plain"})
    yield caller.use(body={"tempKeyUuid": "another"}, key=key)
    yield caller.use(headers={"X-Padding": "x" * 17_000})
    yield caller.get("/locks/123?minVersion=99999999")
    for page in PAGES:
        yield caller.get(page)


def unfinished(url: str) -> Exchange:
    """A head that never ends."""
    at = httpx.URL(url)
    with socket.create_connection((at.host, at.port or 80), timeout=20) as connection:
        connection.sendall(f"GET /locks/123 HTTP/1.1\r\nHost: {at.host}\r\n".encode())
        response = HTTPResponse(connection, method="GET")
        response.begin()
        exchange = plain_exchange("GET", f"{url}/locks/123", response)
        response.close()
        return exchange


def test_every_status_is_among_the_samples(exchanges: list[Exchange]) -> None:
    assert {exchange.status for exchange in exchanges} == {200, 202, *REFUSALS} - {FAULT}


def test_no_answer_breaks_a_rule_of_http(exchanges: list[Exchange]) -> None:
    wrong = [
        f"{exchange.method} {exchange.url} {exchange.status}: {type(note).__name__}: {note.summary}"
        for exchange in exchanges
        for note in complaints(exchange)
        if type(note).__name__ not in PASSED_OVER
    ]
    assert wrong == []


def test_nothing_is_passed_over_that_is_not_said(exchanges: list[Exchange]) -> None:
    said = {name for exchange in exchanges for name in names_of(complaints(exchange))}
    assert said == set(PASSED_OVER)
