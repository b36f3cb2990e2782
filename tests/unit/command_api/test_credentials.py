"""Both credentials as callers send them: through the application, with its error table."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from command_api.api_key_uses import ApiKeyUses
from command_api.credentials import Authenticator
from command_api.issuer_keys import open_issuer_keys
from command_api.metrics import ApiMetrics
from command_api.observation import Observation
from command_api.request_state import request_state
from command_api.routes import Routes
from command_api.tokens import Caller, TokenChecker
from eventlog.kafka import Kafka
from runtime.issuers import Issuer
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import NoTracing
from schemas.api_keys import generate_key, hash_key
from schemas.registry import ApiKey
from tests.examples_of import TIME, registry_of
from tests.issued_tokens import (
    ALL_JWKS,
    ATTACKS,
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    OTHER_ED,
    OTHER_ISSUER,
    OTHER_JWKS,
    RSA,
    signed,
    truly_signed,
)

KEY_ID, KEY = generate_key()
WITHOUT_TOKEN = 'Bearer realm="lockstream"'
BAD_API_KEY = 'ApiKey realm="lockstream"'
BAD_TOKEN = 'Bearer realm="lockstream", error="invalid_token"'


def api_key(**changed: Any) -> ApiKey:
    entry = ApiKey(key_id=KEY_ID, org_id="acme", sha256=hash_key(KEY), created_at=TIME)
    return msgspec.structs.replace(entry, **changed)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Answers 200 with the principal to whoever it admits. Its key ends one day."""
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    ours.write_bytes(ALL_JWKS)
    theirs.write_bytes(OTHER_JWKS)
    issuers = [
        Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=str(ours)),
        Issuer(issuer=OTHER_ISSUER, audience="theirs", jwks=str(theirs), scope=""),
    ]
    async with open_issuer_keys(issuers, Settings()) as keys:
        entry = api_key(not_after="2126-11-23T10:00:00.000Z")
        registry = registry_of(entry)
        uses = ApiKeyUses(Kafka(Settings(), "test"), "registry", registry)
        authenticator = Authenticator(TokenChecker(keys, 86400.0), registry, uses)

        async def admit(request: Request) -> Response:
            principal = await authenticator.authenticate(request)
            assert request_state(request.scope).api_key == entry
            return JSONResponse(msgspec.to_builtins(principal))

        routes = [Route("/", admit)]
        metrics = ApiMetrics(Readiness())
        app = Observation(Routes(routes), routes, metrics, NoTracing(), None)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            stop = asyncio.Event()
            following = [asyncio.create_task(known.follow(stop)) for known in keys]
            yield client
            stop.set()
            await asyncio.gather(*following)


async def ask(client: httpx.AsyncClient, token: str, key: str = KEY) -> httpx.Response:
    credentials = {b"Authorization": b"Bearer " + token.encode(), b"X-API-Key": key.encode()}
    return await client.get("/", headers=credentials)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(ED, "EdDSA", "ed"), (EC, "ES256", "ec"), (RSA, "RS256", "rsa")]
)
async def test_users_and_services_are_admitted_and_named(
    client: httpx.AsyncClient, key: Any, algorithm: str, kid: str
) -> None:
    user = await ask(client, signed(key, algorithm, kid))
    actor = {"subject": "alice", "orgId": "acme", "keyId": KEY_ID}
    assert user.json() == {"org_id": "acme", "actor": {"kind": "user", **actor}}
    service = await ask(client, signed(key, algorithm, kid, org_id="acme"))
    assert service.json() == {"org_id": "acme", "actor": {"kind": "service", **actor}}


async def test_what_the_attackers_start_from_would_be_admitted(client: httpx.AsyncClient) -> None:
    assert (await ask(client, truly_signed())).status_code == 200


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_forged_or_odd_token_is_401(client: httpx.AsyncClient, attack: str) -> None:
    for _ in range(2):  # what was refused once is not remembered as good
        answer = await ask(client, ATTACKS[attack]())
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, BAD_TOKEN)
        assert answer.json()["code"] == 401


async def test_an_issuers_tokens_are_checked_with_its_own_keys_and_audience(
    client: httpx.AsyncClient,
) -> None:
    theirs = signed(OTHER_ED, "EdDSA", "other", iss=OTHER_ISSUER, aud="theirs", scope="anything")
    assert (await ask(client, theirs)).status_code == 200
    for token in (
        signed(OTHER_ED, "EdDSA", "other", iss=ISSUER, aud=AUDIENCE),
        signed(OTHER_ED, "EdDSA", "other", iss=OTHER_ISSUER, aud=AUDIENCE),
        signed(ED, "EdDSA", "ed", iss=OTHER_ISSUER, aud="theirs"),
        signed(ED, "EdDSA", "ed", aud="theirs"),
    ):
        assert (await ask(client, token)).status_code == 401


@pytest.mark.parametrize(
    "granted",
    [
        {"scope": "openid locks:use-temp-key"},
        {"scp": ["locks:use-temp-key"]},
        {"scp": "locks:use-temp-key"},
        {"scope": None},
    ],
)
async def test_a_token_with_the_scope_or_without_any_is_admitted(
    client: httpx.AsyncClient, granted: dict[str, Any]
) -> None:
    assert (await ask(client, signed(**granted))).status_code == 200


@pytest.mark.parametrize(
    "granted",
    [
        {"scope": "locks:read"},
        {"scope": ""},
        {"scope": "locks:use-temp-key-not"},
        {"scp": ["locks:read"]},
        {"scope": 7},
        {"scope": {"locks:use-temp-key": True}},
    ],
)
async def test_a_token_with_other_scopes_is_403(
    client: httpx.AsyncClient, granted: dict[str, Any]
) -> None:
    answer = await ask(client, signed(**granted))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (
        403,
        'Bearer realm="lockstream", error="insufficient_scope", scope="locks:use-temp-key"',
    )


@pytest.mark.parametrize("org_id", ["other", "", "Acme", "acme "])
async def test_a_service_of_another_organisation_is_403(
    client: httpx.AsyncClient, org_id: str
) -> None:
    assert (await ask(client, signed(org_id=org_id))).status_code == 403


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], WITHOUT_TOKEN),
        ([("X-API-Key", KEY)], WITHOUT_TOKEN),
        ([("X-API-Key", KEY), ("Authorization", "Bearer")], WITHOUT_TOKEN),
        ([("X-API-Key", KEY), ("Authorization", "Bearer ")], WITHOUT_TOKEN),
        ([("X-API-Key", KEY), ("Authorization", f"Basic {signed()}")], WITHOUT_TOKEN),
        ([("X-API-Key", KEY), ("Authorization", signed())], WITHOUT_TOKEN),
        ([("X-API-Key", KEY), *[("Authorization", f"Bearer {signed()}")] * 2], WITHOUT_TOKEN),
        ([("Authorization", f"Bearer {signed()}")], BAD_API_KEY),
        ([("Authorization", f"Bearer {signed()}"), *[("X-API-Key", KEY)] * 2], BAD_API_KEY),
        ([("Authorization", f"Bearer {signed()}"), ("X-API-Key", "")], BAD_API_KEY),
        ([("Authorization", f"Bearer {signed()}"), ("X-API-Key", KEY[:-1])], BAD_API_KEY),
        ([("Authorization", f"Bearer {signed()}, Bearer x"), ("X-API-Key", KEY)], BAD_TOKEN),
    ],
)
async def test_each_credential_is_needed_exactly_once(
    client: httpx.AsyncClient, headers: list[tuple[str, str]], challenge: str
) -> None:
    answer = await client.get("/", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)


async def test_bad_api_keys_get_the_same_answer_after_the_same_work(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def watched(given: str, expected: str) -> bool:
        compared.append((len(given), len(expected)))
        return compare_digest(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    unknown = generate_key()[1]
    wrong_secret = _with_id(KEY_ID)
    typo = KEY[:-1] + ("x" if KEY[-1] != "x" else "y")
    answers = [await ask(client, signed(), key) for key in (unknown, wrong_secret, typo)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert compared == [(64, 64)] * 3


def _with_id(key_id: str) -> str:
    """A key of the right form and checksum, with this id and a secret of its own."""
    from schemas.api_keys import _checksum

    body = f"lk_live_{key_id}_{generate_key()[1][21:64]}"
    return body + _checksum(body)


async def test_without_a_good_api_key_a_token_costs_us_no_signature_check(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    check = TokenChecker.check

    async def counted(checker: TokenChecker, token: str) -> Caller:
        checks.append(token)
        return await check(checker, token)

    monkeypatch.setattr(TokenChecker, "check", counted)
    for token in (signed(), signed(scope="locks:read"), "nonsense"):
        answer = await ask(client, token, generate_key()[1])
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, BAD_API_KEY)
    assert checks == []
    token = signed()
    assert (await ask(client, token)).status_code == 200
    assert checks == [token]


async def test_a_refusal_says_which_credential_is_wrong_and_how(client: httpx.AsyncClient) -> None:
    key, token = ("X-API-Key", KEY), ("Authorization", f"Bearer {signed()}")
    for headers, message in (
        ([key], "The Authorization header is missing"),
        ([key, token, token], "The authorization header came more than once"),
        ([key, ("Authorization", "Bearer  ")], "Send Authorization: Bearer <token>"),
        ([key, ("Authorization", "Basic x y")], "Send Authorization: Bearer <token>"),
        ([token], "The X-API-Key header is missing"),
        ([token, key, key], "The x-api-key header came more than once"),
        ([token, ("X-API-Key", KEY[:-1])], "The API key is not valid"),
    ):
        answer = await client.get("/", headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (401, message)
    answer = await ask(client, signed(org_id="other"))
    message = "The token and the API key are of different organisations"
    assert (answer.status_code, answer.json()["message"]) == (403, message)


async def test_the_scheme_has_any_case_and_blanks_around_a_token_do_not_count(
    client: httpx.AsyncClient,
) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {signed()} ", "X-API-Key": KEY}
        assert (await client.get("/", headers=headers)).status_code == 200


async def test_only_who_is_admitted_counts_as_a_use_of_the_key(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, datetime]] = []
    monkeypatch.setattr(ApiKeyUses, "note", lambda _, key_id, now: noted.append((key_id, now)))
    await ask(client, signed(org_id="other"))
    await ask(client, "no token")
    assert noted == []
    started_at = datetime.now(UTC)
    await ask(client, signed())
    ((key_id, at),) = noted
    assert key_id == KEY_ID
    assert started_at <= at <= datetime.now(UTC)
