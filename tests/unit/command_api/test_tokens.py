"""Which tokens are believed, for how long, and what is said of the others."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from command_api import tokens
from command_api.errors import TOKEN_INVALID, Forbidden, Unauthenticated
from command_api.issuer_keys import IssuerKeys, open_issuer_keys
from command_api.tokens import LEEWAY_S, MAX_TOKEN_CHARS, Caller, TokenChecker
from runtime.issuers import Issuer
from runtime.settings import Settings
from tests.issued_tokens import (
    ALL_JWKS,
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    claims,
    forged,
    signed,
    truly_signed,
)

LIFETIME_S = 3600


@pytest.fixture
async def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IssuerKeys]:
    file = tmp_path / "jwks.json"
    file.write_bytes(ALL_JWKS)
    issuer = Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=str(file))
    async with open_issuer_keys([issuer], Settings()) as (opened,):
        # Nobody follows the file: an unknown key is unknown.
        monkeypatch.setattr(opened, "_may_look_up", lambda: False)
        yield opened


@pytest.fixture
def checker(keys: IssuerKeys) -> TokenChecker:
    return TokenChecker([keys], LIFETIME_S)


async def refusal(checker: TokenChecker, token: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await checker.check(token)
    assert refused.value.challenge == TOKEN_INVALID
    return str(refused.value)


def _header(**header: Any) -> str:
    return truly_signed({"alg": "EdDSA", "kid": "ed", **header})


def _claim(**changed: Any) -> str:
    return truly_signed(payload=claims(**changed))


def _refused() -> list[tuple[str, str]]:
    return [
        ("x" * (MAX_TOKEN_CHARS + 1), "The token is too long"),
        ("x" * MAX_TOKEN_CHARS, "The token is not valid"),
        ("..", "The token is not valid"),
        (_claim(iss="https://evil.example/"), "The token's issuer is not known"),
        (_claim(iss=[ISSUER]), "The token's issuer is not known"),
        (_claim(iss=...), "The token's issuer is not known"),
        (_header(kid="a/b"), "The token names no usable key"),
        (_header(kid=7), "The token is not valid"),
        (_header(typ="dpop+jwt"), "The token is not of a kind that is accepted here"),
        (_header(typ=1), "The token is not of a kind that is accepted here"),
        (_header(crit=[]), "The token is not valid"),
        (forged({"alg": "EdDSA", "kid": "unknown"}), "The token's key is not known"),
        (signed(EC, "ES256", "ed"), "The token's algorithm is not its key's"),
        (forged({"kid": "ed", "alg": "EdDSA"}), "The token is not valid"),
        (_claim(aud="other"), "The token is not valid"),
        (_claim(iat=1, exp=2), "The token has expired"),
        (_claim(exp=True), "The token has expired"),
        (_claim(iat=True), "The token's iat is not a number"),
        (_claim(sub="a\nb"), "The token's sub is not a name"),
        (_claim(sub="x" * 256), "The token's sub is not a name"),
        (_claim(org_id=7), "The token's org_id is not a name"),
    ]


async def test_a_refusal_says_what_is_wrong_with_the_token(checker: TokenChecker) -> None:
    for token, message in _refused():
        assert await refusal(checker, token) == message
        assert await refusal(checker, token) == message  # it is not remembered as good


def test_of_a_critical_header_none_is_understood() -> None:
    """Ours is the second look: PyJWT refuses these already, each in its own way."""
    message = "The token is not of a kind that is accepted here"
    for added in ({"crit": ["x"]}, {"b64": False}):
        with pytest.raises(Unauthenticated, match=f"^{message}$"):
            tokens._key_id({"kid": "ed", **added})


async def test_the_kinds_of_tokens_that_issuers_send_are_taken(checker: TokenChecker) -> None:
    for kind in ("JWT", "jwt", "at+JWT", "application/at+jwt"):
        assert await checker.check(_header(typ=kind)) == Caller("alice", None)
    assert await checker.check(signed(org_id="acme")) == Caller("alice", "acme")


async def test_a_token_that_lasts_too_long_is_refused_to_the_second(
    checker: TokenChecker,
) -> None:
    now = int(time.time())
    assert await checker.check(signed(iat=now, exp=now + LIFETIME_S))
    message = await refusal(checker, signed(iat=now, exp=now + LIFETIME_S + 1))
    assert message == "The token is valid for too long"


async def test_a_token_that_lasts_too_long_is_refused_however_long_ago_it_was_issued(
    checker: TokenChecker,
) -> None:
    now = int(time.time())
    message = await refusal(checker, signed(iat=now - LIFETIME_S, exp=now + 60))
    assert message == "The token is valid for too long"


async def test_the_leeway_covers_clocks_that_differ_and_no_more(checker: TokenChecker) -> None:
    now = int(time.time())
    assert await checker.check(signed(iat=now - 100, exp=now - LEEWAY_S + 10))
    message = await refusal(checker, signed(iat=now - 100, exp=now - LEEWAY_S - 1))
    assert message == "The token has expired"
    assert await checker.check(signed(iat=now + LEEWAY_S - 10, exp=now + 60))


async def test_a_missing_scope_is_named(checker: TokenChecker) -> None:
    granted: dict[str, Any]
    for granted in ({"scope": "a locks:use-temp-key b"}, {"scp": ["a", "locks:use-temp-key"]}):
        assert await checker.check(signed(**granted))
    both = {"scope": "a", "scp": ["locks:use-temp-key"]}
    assert await checker.check(signed(**both))
    for granted in ({"scope": "a,locks:use-temp-key"}, {"scp": []}, {"scp": 7, "scope": "a"}):
        token = signed(**granted)
        for _ in range(2):  # what was refused once is not remembered as good
            with pytest.raises(Forbidden) as refused:
                await checker.check(token)
            assert str(refused.value) == "The token lacks the scope locks:use-temp-key"
            assert refused.value.missing_scope == "locks:use-temp-key"


async def test_a_good_token_is_remembered_for_a_minute_or_as_long_as_it_is_valid(
    checker: TokenChecker, keys: IssuerKeys
) -> None:
    now = int(time.time())
    long, short = signed(iat=now, exp=now + 1000), signed(iat=now, exp=now + 5)
    callers = {token: await checker.check(token, float(now)) for token in (long, short)}
    for token, seconds in ((long, 60), (short, 5 + LEEWAY_S)):
        assert await checker.check(token, now + seconds - 0.5) is callers[token]
        renewed = await checker.check(token, float(now + seconds))
        assert renewed == callers[token]
        assert renewed is not callers[token]
    before = await checker.check(long, float(now))
    keys.generation += 1
    assert await checker.check(long, float(now)) is not before


async def test_the_clock_is_ours_where_no_time_is_given(checker: TokenChecker) -> None:
    token = signed()
    started_at = time.time()
    await checker.check(token)
    assert started_at + 60 <= checker._remembered[token].until <= time.time() + 60


async def test_the_tokens_that_are_remembered_are_bounded(
    checker: TokenChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED_TOKENS", 2)
    given = [signed(ED, "EdDSA", "ed", sub=name) for name in "abc"]
    kept = []
    for token in given:
        await checker.check(token)
        kept.append(len(checker._remembered))
    assert kept == [1, 2, 1]
    assert list(checker._remembered) == [given[-1]]
