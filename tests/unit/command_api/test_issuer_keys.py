"""The keys of issuers while their endpoints and files are rotated, fail and come back."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from command_api import issuer_keys, jwks_sources
from command_api.errors import Unauthenticated
from command_api.issuer_keys import (
    FRUITLESS_LOOKUPS,
    MAX_KEYS,
    MAX_WAITING,
    IssuerKeys,
    open_issuer_keys,
    read_keys,
    watch_issuers,
)
from command_api.jwks_sources import MAX_JWKS_BYTES
from command_api.token_bucket import TokenBucket
from command_api.tokens import LEEWAY_S, TokenChecker
from runtime.errors import ConfigurationError, IssuerUnavailable
from runtime.issuers import Issuer
from runtime.readiness import Readiness
from runtime.settings import Settings
from tests.ipv6 import needs_ipv6
from tests.issued_tokens import (
    ALL_JWKS,
    AUDIENCE,
    EC,
    EC_JWK,
    ED_JWK,
    ISSUER,
    OTHER_ED,
    RSA_JWK,
    ed_jwk,
    jwks,
    signed,
)
from tests.jwks_server import JwksServer, jwks_server

BOTH = jwks(ED_JWK, EC_JWK)


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with jwks_server(jwks(ED_JWK)) as running:
        yield running


def issuer_at(jwks_at: str) -> Issuer:
    return Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=jwks_at)


@asynccontextmanager
async def followed(jwks_at: str, **settings: Any) -> AsyncIterator[IssuerKeys]:
    """The keys of one issuer, kept fresh as the API does it."""
    stop = asyncio.Event()
    async with open_issuer_keys([issuer_at(jwks_at)], Settings(**settings)) as (keys,):
        following = asyncio.create_task(keys.follow(stop))
        yield keys
        stop.set()
        async with asyncio.timeout(5):
            await following


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - what changes is outside this loop
            await asyncio.sleep(0.01)


async def test_a_key_rotated_in_is_good_for_its_first_token(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        checker = TokenChecker([keys], 86400.0)
        assert await checker.check(signed())
        for kid in ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"):
            server.document = jwks(ED_JWK, ed_jwk(OTHER_ED, kid))
            assert await checker.check(signed(OTHER_ED, "EdDSA", kid))
            assert await checker.check(signed())


@needs_ipv6
async def test_keys_are_read_from_an_ipv6_address_whatever_proxy_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    with jwks_server(jwks(ED_JWK), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        async with followed(server.url) as keys:
            assert await TokenChecker([keys], 86400.0).check(signed())
        assert server.fetched[0] == "/jwks"


async def test_a_key_rotated_out_is_refused_after_the_next_refresh(server: JwksServer) -> None:
    server.document = BOTH
    token = signed()
    async with followed(server.url, jwt_jwks_refresh=0.05) as keys:
        checker = TokenChecker([keys], 86400.0)
        assert await checker.check(token)
        server.document = jwks(EC_JWK)
        await eventually(lambda: keys.generation == 2)
        with pytest.raises(Unauthenticated):
            await checker.check(token)
        assert await checker.check(signed(EC, "ES256", "ec"))


async def test_a_key_that_keeps_its_name_but_changes_is_taken(server: JwksServer) -> None:
    async with followed(server.url, jwt_jwks_refresh=0.05) as keys:
        checker = TokenChecker([keys], 86400.0)
        token = signed()
        assert await checker.check(token)
        server.document = jwks(ed_jwk(OTHER_ED, "ed"))
        await eventually(lambda: keys.generation == 2)
        with pytest.raises(Unauthenticated):
            await checker.check(token)
        assert await checker.check(signed(OTHER_ED, "EdDSA", "ed"))


async def test_refreshes_of_the_same_keys_forget_no_token(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    decode = jwt.decode

    def counted(token: str, *args: Any, **kwargs: Any) -> Any:
        checks.append(token)
        return decode(token, *args, **kwargs)

    monkeypatch.setattr(jwt, "decode", counted)
    async with followed(server.url, jwt_jwks_refresh=0.02) as keys:
        checker = TokenChecker([keys], 86400.0)
        token = signed()
        first = await checker.check(token)
        fetched = len(server.fetched)
        await eventually(lambda: len(server.fetched) > fetched + 5)
        assert await checker.check(token) is first
        # A signature is checked once, however often its keys are read again.
        assert checks == [token]
        assert keys.generation == 1


async def test_many_tokens_with_an_unknown_key_make_few_fetches(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        server.delay_s = 0.1
        answers = await asyncio.gather(*(keys.find(f"unknown-{i}") for i in range(MAX_WAITING)))
        assert answers == [None] * MAX_WAITING
        # The first one's fetch, and one for all that came while it was under way.
        assert len(server.fetched) <= 3
        server.delay_s = 0.0
        for i in range(50):
            assert await keys.find(f"more-{i}") is None
        assert len(server.fetched) <= 1 + FRUITLESS_LOOKUPS.size
        assert await keys.find("ed") is not None


async def test_one_fetch_at_a_time_and_so_many_tokens_wait_for_it(server: JwksServer) -> None:
    async with followed(server.url, jwt_jwks_refresh=0.01) as keys:
        server.delay_s = 0.2
        lookups = [keys.find("unknown") for _ in range(2 * MAX_WAITING + 50)]
        answers = await asyncio.gather(*lookups, return_exceptions=True)
        refused = [a for a in answers if isinstance(a, IssuerUnavailable)]
        assert len(refused) >= 50
        assert [a for a in answers if a not in refused] == [None] * (len(lookups) - len(refused))
        assert len(refused) < len(lookups)
        assert len(server.fetched) <= 4


class HeldSource:
    """A source whose next answers the test lets go one by one, each as it was asked for."""

    refresh_s = 3600.0
    longest_pause_s = 3600.0

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.asked = asyncio.Semaphore(0)
        self.let_go = asyncio.Semaphore(1)

    async def read(self) -> bytes:
        document = self.document
        self.asked.release()
        await self.let_go.acquire()
        return document


async def test_a_token_waits_for_a_reading_that_began_after_it_came() -> None:
    source, stop = HeldSource(jwks(ED_JWK)), asyncio.Event()
    keys = IssuerKeys(issuer_at("x"), source, 3600.0)
    await keys.load()
    await source.asked.acquire()
    following = asyncio.create_task(keys.follow(stop))
    early = asyncio.create_task(keys.find("unknown"))
    await source.asked.acquire()  # the answer of before the rotation is on its way
    source.document = BOTH
    late = asyncio.create_task(keys.find("ec"))
    await asyncio.sleep(0)
    source.let_go.release()
    source.let_go.release()
    async with asyncio.timeout(10):
        assert await early is None
        found = await late
        assert found is not None
        assert found.key_id == "ec"
        stop.set()
        await following


async def test_known_keys_never_wait_for_a_slow_issuer(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        server.delay_s = 30.0
        waiting = asyncio.create_task(keys.find("unknown"))
        await eventually(lambda: len(server.fetched) == 2)
        async with asyncio.timeout(0.5):
            assert await keys.find("ed") is not None
        with pytest.raises(IssuerUnavailable):
            await waiting


async def test_a_stop_breaks_a_fetch_off(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        server.delay_s = 30.0
        waiting = asyncio.create_task(keys.find("unknown"))
        await eventually(lambda: len(server.fetched) == 2)
        started_at = time.monotonic()
    assert time.monotonic() - started_at < 2
    with pytest.raises(IssuerUnavailable):
        await waiting


@pytest.mark.parametrize(
    "misbehave",
    [
        {"status": 500},
        {"status": 404},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"document": b"<html>"},
        {"document": b"\xff\xfe"},
        {"document": b"{}"},
        {"document": b'{"keys":[]}'},
        {"document": b'{"keys":7}'},
        {"document": b"[" * 100_000},
        {"document": jwks({"kty": "oct", "k": "c2VjcmV0", "kid": "ed", "alg": "HS256"})},
        {"document": jwks({"kty": "OKP", "crv": "Ed25519", "x": 7, "kid": "ed"})},
        {"document": jwks({**ED_JWK, "use": "enc"})},
        {"document": b" " * (MAX_JWKS_BYTES + 1) + ALL_JWKS},
        {"document": ALL_JWKS, "headers": {"Content-Encoding": "gzip"}},
        {"drip": True},
    ],
    ids=range(15),
)
async def test_whatever_the_issuer_answers_the_keys_stay_and_attempts_are_few(
    server: JwksServer, misbehave: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_sources, "FETCH_TIMEOUT_S", 0.3)
    async with followed(server.url) as keys:
        for name, value in misbehave.items():
            setattr(server, name, value)
        for _ in range(20):
            with pytest.raises(IssuerUnavailable):
                await keys.find("unknown")
            assert await keys.find("ed") is not None
        assert len(server.fetched) <= 3
        assert set(server.fetched) == {"/jwks"}
        server.document, server.status, server.headers, server.drip = BOTH, 200, {}, False
        await eventually(lambda: keys.generation == 2)
        assert await keys.find("ec") is not None


async def test_a_failing_issuer_is_asked_after_growing_pauses(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        server.status = 500
        started_at = time.monotonic()
        with pytest.raises(IssuerUnavailable):
            await keys.find("unknown")
        await eventually(lambda: len(server.fetched) == 4)
        assert time.monotonic() - started_at > 1 + 2 - 0.1


class FailingSource:
    """A source that fails so many times, and then has the keys."""

    refresh_s = 3600.0
    longest_pause_s = 0.01

    def __init__(self, failures: int) -> None:
        self.left = failures

    async def read(self) -> bytes:
        self.left -= 1
        if self.left >= 0:
            raise IssuerUnavailable("away")
        return jwks(ED_JWK)


async def test_an_issuer_that_was_away_for_long_is_found_soon_after_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(issuer_keys, "FIRST_PAUSE_S", 0.001)
    keys, stop = IssuerKeys(issuer_at("x"), FailingSource(40), 3600.0), asyncio.Event()
    with pytest.raises(IssuerUnavailable):
        await keys.load()
    following = asyncio.create_task(keys.follow(stop))
    await eventually(lambda: keys.usable)
    stop.set()
    await following


async def test_an_issuer_that_was_never_reached_makes_503_and_is_found_later(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(issuer_keys, "WATCH_EVERY_S", 0.05)
    server.status = 503
    readiness, stop = Readiness(), asyncio.Event()
    async with followed(server.url) as keys:
        watching = asyncio.create_task(watch_issuers([keys], readiness, stop))
        checker = TokenChecker([keys], 86400.0)
        with pytest.raises(IssuerUnavailable):
            await checker.check(signed())
        await eventually(lambda: not readiness.ready)
        server.status = 200
        await eventually(lambda: readiness.ready)
        assert await checker.check(signed())
        stop.set()
        await watching


async def test_an_issuer_without_keys_does_not_make_the_others_unready(
    server: JwksServer,
) -> None:
    server.status = 503
    with jwks_server(ALL_JWKS) as good:
        there = msgspec.structs.replace(issuer_at(good.url), issuer="https://there.example/")
        async with open_issuer_keys([issuer_at(server.url), there], Settings()) as all_keys:
            readiness, stop = Readiness(), asyncio.Event()
            watching = asyncio.create_task(watch_issuers(all_keys, readiness, stop))
            await asyncio.sleep(0)
            assert [keys.usable for keys in all_keys] == [False, True]
            assert readiness.ready
            stop.set()
            await watching


async def test_keys_that_could_not_be_read_for_too_long_are_no_longer_believed(
    server: JwksServer,
) -> None:
    async with followed(server.url, jwt_jwks_refresh=0.05, jwt_jwks_max_stale=1.0) as keys:
        assert await keys.find("ed") is not None
        server.status = 500
        await eventually(lambda: not keys.usable)
        with pytest.raises(IssuerUnavailable):
            await keys.find("ed")
        server.status = 200
        await eventually(lambda: keys.usable)
        assert await keys.find("ed") is not None


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(ED_JWK))
    async with followed(str(file)) as keys:
        checker = TokenChecker([keys], 86400.0)
        token = signed()
        assert await checker.check(token)
        renewed = file.with_suffix(".new")
        renewed.write_bytes(jwks(EC_JWK))
        os.replace(renewed, file)
        assert await checker.check(signed(EC, "ES256", "ec"))
        with pytest.raises(Unauthenticated):
            await checker.check(token)
        file.unlink()
        await eventually(lambda: keys._failures > 0)
        assert await checker.check(signed(EC, "ES256", "ec"))


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"keys":[]}', jwks({"kty": "oct"})])
async def test_a_file_without_a_usable_key_is_named_at_the_start(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"LOCKSTREAM_JWT_ISSUERS.*jwks\.json"):
        async with followed(str(file)):
            pass


def test_what_can_not_be_used_is_passed_over() -> None:
    odd: list[dict[str, Any]] = [
        {"kty": "AKP", "alg": "ML-DSA-44", "kid": "quantum"},
        {**ED_JWK, "kid": 7},
        {**ED_JWK, "kid": "a path/../"},
        {**RSA_JWK, "alg": "RS512", "kid": "not-allowed"},
        {"kty": "RSA", "n": None, "e": [], "kid": "broken"},
    ]
    assert set(read_keys(jwks(*odd, ED_JWK), issuer_at("x"))) == {"ed"}


def test_of_an_endless_list_of_keys_the_first_are_taken() -> None:
    many = [{**ED_JWK, "kid": f"key-{n}"} for n in range(MAX_KEYS + 1)]
    taken = read_keys(jwks(*many), issuer_at("x"))
    assert list(taken) == [f"key-{n}" for n in range(128)]


async def test_a_token_is_not_remembered_for_longer_than_it_is_valid(server: JwksServer) -> None:
    async with followed(server.url) as keys:
        checker = TokenChecker([keys], 86400.0)
        now = int(time.time())
        token = signed(iat=now - 100, exp=now + 5)
        assert await checker.check(token)
        assert await checker.check(token, now=now + 5 + LEEWAY_S - 1)
        assert checker._remembered[token].until == now + 5 + LEEWAY_S


def test_fruitless_lookups_come_in_a_burst_and_then_one_in_10_seconds() -> None:
    bucket = TokenBucket.full(FRUITLESS_LOOKUPS, 0.0)
    for _ in range(2):  # lookups that nobody needed are not saved up
        bucket = bucket.refilled(bucket.at + 1000.0)
        for _ in range(5):
            assert bucket.tokens >= 1
            bucket = bucket.take()
        assert bucket.tokens == bucket.take().tokens == 0
    assert bucket.refilled(bucket.at + 9.0).tokens < 1
    assert bucket.refilled(bucket.at + 10.5).tokens >= 1
