"""Tokens that must be refused, and those that must not."""

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lockstream.command_api.errors import Forbidden, Unauthenticated
from lockstream.command_api.tokens import LEEWAY_S, Caller, KeySet, TokenChecker
from lockstream.runtime.errors import ConfigurationError

ISSUER, AUDIENCE = "https://issuer.example/", "lockstream"
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


def jwk_of(algorithm: Any, key: Any, name: str, kid: str) -> dict[str, Any]:
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": name}


ED_JWK = jwk_of(OKPAlgorithm, ED, "EdDSA", "ed")
EC_JWK = jwk_of(ECAlgorithm, EC, "ES256", "ec")
RSA_JWK = jwk_of(RSAAlgorithm, RSA, "RS256", "rsa")


@pytest.fixture
async def keys(tmp_path: Path) -> KeySet:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(ED_JWK, EC_JWK, RSA_JWK))
    keys = KeySet(file, ["EdDSA", "ES256", "RS256"])
    await keys.load()
    return keys


@pytest.fixture
def checker(keys: KeySet) -> TokenChecker:
    return TokenChecker(
        keys, issuer=ISSUER, audience=AUDIENCE, scope="locks:use-temp-key", max_lifetime_s=86400
    )


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 60, **changed}
    return {name: value for name, value in given.items() if value is not ...}


def signed(
    key: Any = ED, algorithm: str = "EdDSA", kid: str | None = "ed", /, **changed: Any
) -> str:
    headers = {"kid": kid} if kid is not None else {}
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers=headers)


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: dict[str, Any], signature: bytes = b"") -> str:
    return f"{encoded(header)}.{encoded(claims())}.{encoded(signature)}"


def resigned(header: dict[str, Any]) -> str:
    """Truly signed with our key, under another header."""
    text = f"{encoded(header)}.{encoded(claims())}"
    return f"{text}.{encoded(ED.sign(text.encode()))}"


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(ED, "EdDSA", "ed"), (EC, "ES256", "ec"), (RSA, "RS256", "rsa")]
)
def test_good_tokens_are_taken(checker: TokenChecker, key: Any, algorithm: str, kid: str) -> None:
    assert checker.check(signed(key, algorithm, kid)) == Caller("alice", None)
    assert checker.check(signed(key, algorithm, kid, org_id="acme")).org_id == "acme"
    assert checker.check(signed(key, algorithm, kid, scope="x locks:use-temp-key"))


PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
ATTACKS: dict[str, Callable[[], str]] = {
    "none": lambda: forged({"alg": "none", "kid": "ed"}),
    "None": lambda: forged({"alg": "None", "kid": "ed"}),
    "nOnE": lambda: forged({"alg": "nOnE", "kid": "ed"}),
    "hmac with the public key": lambda: forged(
        {"alg": "HS256", "kid": "rsa"},
        __import__("hmac").digest(PEM, b"x", "sha256"),
    ),
    "algorithm of another key": lambda: signed(ED, "EdDSA", "rsa"),
    "key of another algorithm": lambda: signed(RSA, "RS256", "ed"),
    "strangers key": lambda: signed(ed25519.Ed25519PrivateKey.generate()),
    "embedded key": lambda: resigned({"alg": "EdDSA", "kid": "new", "jwk": ED_JWK}),
    "key from elsewhere": lambda: resigned({"alg": "EdDSA", "jku": "https://evil.example/jwks"}),
    "no kid": lambda: signed(ED, "EdDSA", None),
    "kid is a path": lambda: resigned({"alg": "EdDSA", "kid": "../../etc/passwd"}),
    "kid is sql": lambda: resigned({"alg": "EdDSA", "kid": "' OR 1=1 --"}),
    "kid is a number": lambda: resigned({"alg": "EdDSA", "kid": 7}),
    "kid is huge": lambda: resigned({"alg": "EdDSA", "kid": "x" * 5000}),
    "empty signature": lambda: signed().rpartition(".")[0] + ".",
    "no signature": lambda: signed().rpartition(".")[0],
    "zero ecdsa signature": lambda: forged({"alg": "ES256", "kid": "ec"}, bytes(64)),
    "unknown crit": lambda: resigned({"alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1}),
    "b64 false": lambda: resigned({"alg": "EdDSA", "kid": "ed", "b64": False}),
    "wrong typ": lambda: resigned({"alg": "EdDSA", "kid": "ed", "typ": "dpop+jwt"}),
    "wrong issuer": lambda: signed(iss="https://evil.example/"),
    "wrong audience": lambda: signed(aud="other"),
    "no exp": lambda: signed(exp=...),
    "no iat": lambda: signed(iat=...),
    "no sub": lambda: signed(sub=...),
    "no iss": lambda: signed(iss=...),
    "no aud": lambda: signed(aud=...),
    "expired": lambda: signed(iat=int(time.time()) - 200, exp=int(time.time()) - 100),
    "exp as text": lambda: signed(exp=str(int(time.time()) + 60)),
    "exp absurd": lambda: signed(exp=10**400),
    "exp far away": lambda: signed(exp=int(time.time()) + 86400 * 30),
    "exp is true": lambda: signed(exp=True),
    "from the future": lambda: signed(iat=int(time.time()) + 3600, exp=int(time.time()) + 3700),
    "sub empty": lambda: signed(sub=""),
    "sub is a number": lambda: resigned_claims(sub=7),
    "org is a list": lambda: signed(org_id=["acme"]),
    "five parts": lambda: "a.b.c.d.e",
    "json serialisation": lambda: json.dumps({"payload": "x", "signatures": []}),
    "too long": lambda: "x" * 9000,
    "deeply nested": lambda: (
        forged({"alg": "EdDSA", "kid": "ed"})[:0] + f"{encoded(b'[' * 4000)}.{encoded({})}.x"
    ),
    "not base64": lambda: "!!!.???.###",
    "empty": lambda: "",
    "not ascii": lambda: "é.é.é",
}


def resigned_claims(**changed: Any) -> str:
    text = f"{encoded({'alg': 'EdDSA', 'kid': 'ed'})}.{encoded(claims(**changed))}"
    return f"{text}.{encoded(ED.sign(text.encode()))}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_and_odd_tokens_are_refused(checker: TokenChecker, attack: str) -> None:
    with pytest.raises(Unauthenticated):
        checker.check(ATTACKS[attack]())


def test_a_token_with_another_scope_is_forbidden(checker: TokenChecker) -> None:
    with pytest.raises(Forbidden):
        checker.check(signed(scope="locks:read"))


def test_a_token_is_not_remembered_for_longer_than_it_is_valid(checker: TokenChecker) -> None:
    expiry = int(time.time()) + 5
    token = signed(iat=expiry - 100, exp=expiry)
    assert checker.check(token)
    _, forgotten_at = checker._remembered[token]
    assert forgotten_at == expiry + LEEWAY_S


async def test_keys_are_rotated_without_a_restart(keys: KeySet, checker: TokenChecker) -> None:
    token = signed()
    assert checker.check(token)
    new = ed25519.Ed25519PrivateKey.generate()
    file = keys._file
    temporary = file.with_suffix(".new")
    temporary.write_bytes(jwks(jwk_of(OKPAlgorithm, new, "EdDSA", "ed2")))
    os.replace(temporary, file)
    await keys._reload()
    assert checker.check(signed(new, "EdDSA", "ed2"))
    with pytest.raises(Unauthenticated):
        checker.check(token)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"keys":[]}', jwks({"kty": "oct", "k": "x"})])
async def test_a_file_without_a_usable_key_is_a_configuration_error(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_JWT_JWKS"):
        await KeySet(file, ["EdDSA"]).load()
