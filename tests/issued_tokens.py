"""Tokens as good issuers sign them, and as attackers forge them."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example/", "lockstream"
OTHER_ISSUER = "https://other.example/"
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
OTHER_ED = ed25519.Ed25519PrivateKey.generate()


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


def ed_jwk(key: ed25519.Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    return {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "EdDSA"}


def _rsa_jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "RS256"}


ED_JWK = ed_jwk(ED, "ed")
EC_JWK = {
    **ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec", "alg": "ES256",
}  # fmt: skip
RSA_JWK = _rsa_jwk(RSA, "rsa")
WEAK_RSA_JWK = _rsa_jwk(WEAK_RSA, "weak")
ALL_JWKS = jwks(ED_JWK, EC_JWK, RSA_JWK, WEAK_RSA_JWK)
OTHER_JWKS = jwks(ed_jwk(OTHER_ED, "other"))


def claims(**changed: Any) -> dict[str, Any]:
    """``...`` takes a claim away."""
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


def forged(header: object, signature: bytes = b"") -> str:
    return f"{encoded(header)}.{encoded(claims())}.{encoded(signature)}"


def truly_signed(header: object = None, payload: object = None) -> str:
    """Signed with the issuer's Ed25519 key: what is wrong is not the signature."""
    chosen = {"alg": "EdDSA", "kid": "ed"} if header is None else header
    text = f"{encoded(chosen)}.{encoded(claims() if payload is None else payload)}"
    return f"{text}.{encoded(ED.sign(text.encode()))}"


def _with(**added: Any) -> Callable[[], str]:
    return lambda: truly_signed({"alg": "EdDSA", "kid": "ed", **added})


def _hmac_keyed_with(secret: bytes) -> str:
    text = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def _signed_with_weak_rsa() -> str:
    text = f"{encoded({'alg': 'RS256', 'kid': 'weak'})}.{encoded(claims())}"
    return f"{text}.{encoded(WEAK_RSA.sign(text.encode(), PKCS1v15(), SHA256()))}"


_PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
_DEEP = b'{"a":' * 1500 + b"1" + b"}" * 1500

ATTACKS: dict[str, Callable[[], str]] = {
    # no signature at all
    "alg none": lambda: forged({"alg": "none", "kid": "ed"}),
    "alg None": lambda: forged({"alg": "None", "kid": "ed"}),
    "alg nOnE": lambda: forged({"alg": "nOnE", "kid": "ed"}),
    "alg missing": lambda: truly_signed({"kid": "ed"}),
    "alg is a list": lambda: truly_signed({"alg": ["EdDSA"], "kid": "ed"}),
    "empty signature": lambda: signed().rpartition(".")[0] + ".",
    "no signature": lambda: signed().rpartition(".")[0],
    # a public key used as a secret, another key, another algorithm
    "HS256 keyed with the public PEM": lambda: _hmac_keyed_with(_PEM),
    "HS256 keyed with the public JWK": lambda: _hmac_keyed_with(json.dumps(RSA_JWK).encode()),
    "another key's kid": lambda: signed(ED, "EdDSA", "rsa"),
    "kid of another algorithm": lambda: signed(RSA, "RS256", "ed"),
    "another algorithm of the same key": lambda: signed(RSA, "PS256", "rsa"),
    "a key that is too short": lambda: _signed_with_weak_rsa(),
    "a stranger's key": lambda: signed(ed25519.Ed25519PrivateKey.generate()),
    "another issuer's key": lambda: signed(OTHER_ED, "EdDSA", "other"),
    "another issuer's name": lambda: signed(iss=OTHER_ISSUER),
    "zero ECDSA signature": lambda: forged({"alg": "ES256", "kid": "ec"}, bytes(64)),
    "a changed payload": lambda: ".".join(
        (signed().split(".")[0], encoded(claims(sub="mallory")), signed().split(".")[2])
    ),
    # keys that the token brings along
    "embedded jwk": _with(kid="new", jwk=ed_jwk(ED, "new")),
    "embedded jwk under a known kid": lambda: jwt.encode(
        claims(), OTHER_ED, "EdDSA", {"kid": "ed", "jwk": ed_jwk(OTHER_ED, "ed")}
    ),
    "jku": _with(kid="new", jku="http://127.0.0.1:1/jwks"),
    "x5u": _with(kid="new", x5u="http://127.0.0.1:1/x5u"),
    "x5c": _with(kid="new", x5c=["MIIB"]),
    # hostile kids
    "no kid": lambda: signed(ED, "EdDSA", None),
    "kid is a path": _with(kid="../../../../dev/null"),
    "kid is SQL": _with(kid="ed' OR '1'='1"),
    "kid is a number": _with(kid=7),
    "kid is null": _with(kid=None),
    "kid is an object": _with(kid={"$ne": ""}),
    "kid ends in a newline": _with(kid="ed\n"),
    "kid is long": _with(kid="x" * 129),
    "kid is megabytes": _with(kid="x" * 2_000_000),
    # headers that change what is meant
    "unknown crit": _with(crit=["x"], x=1),
    "empty crit": _with(crit=[]),
    "b64 false": _with(b64=False),
    "b64 false, critical": _with(b64=False, crit=["b64"]),
    "wrong typ": _with(typ="dpop+jwt"),
    "typ is a number": _with(typ=1),
    # claims
    "wrong iss": lambda: signed(iss="https://evil.example/"),
    "iss is a list": lambda: truly_signed(payload=claims(iss=[ISSUER])),
    "wrong aud": lambda: signed(aud="other"),
    "aud is empty": lambda: signed(aud=[]),
    "aud is a number": lambda: truly_signed(payload=claims(aud=7)),
    "no exp": lambda: signed(exp=...),
    "no iat": lambda: signed(iat=...),
    "no sub": lambda: signed(sub=...),
    "no iss": lambda: signed(iss=...),
    "no aud": lambda: signed(aud=...),
    "expired": lambda: signed(iat=int(time.time()) - 200, exp=int(time.time()) - 100),
    "exp is text": lambda: truly_signed(payload=claims(exp=str(int(time.time()) + 60))),
    "exp is absurd": lambda: truly_signed(payload=claims(exp=10**400)),
    "exp is infinite": lambda: truly_signed(
        payload=json.dumps(claims()).replace(str(claims()["exp"]), "1e999").encode()
    ),
    "exp is not a number": lambda: truly_signed(
        payload=json.dumps(claims()).replace(str(claims()["exp"]), "NaN").encode()
    ),
    "exp is far away": lambda: signed(exp=int(time.time()) + 86400 * 30),
    "exp is true": lambda: truly_signed(payload=claims(exp=True)),
    "exp is null": lambda: truly_signed(payload=claims(exp=None)),
    "iat is NaN": lambda: truly_signed(payload=claims(iat=float("nan"))),
    "issued in the future": lambda: signed(
        iat=int(time.time()) + 3600, exp=int(time.time()) + 3700
    ),
    "not valid yet": lambda: signed(nbf=int(time.time()) + 3600),
    "sub is empty": lambda: signed(sub=""),
    "sub is a number": lambda: truly_signed(payload=claims(sub=7)),
    "sub is half a character": lambda: truly_signed(payload=claims(sub="\ud800")),
    "sub has a control character": lambda: truly_signed(payload=claims(sub="a\x00b")),
    "org_id is a list": lambda: truly_signed(payload=claims(org_id=["acme"])),
    # what is no token
    "five-part JWE": lambda: ".".join(
        (encoded({"alg": "dir", "enc": "A256GCM"}), "", "eA", "eA", "eA")
    ),
    "four parts": lambda: f"{signed()}.eA",
    "JSON serialisation": lambda: json.dumps(
        dict(zip(("protected", "payload", "signature"), signed().split("."), strict=True))
    ),
    "claims are a list": lambda: truly_signed(payload=[claims()]),
    "header is a list": lambda: truly_signed([{"alg": "EdDSA", "kid": "ed"}]),
    "too long": lambda: truly_signed(payload=claims(more="x" * 9000)),
    "deep header": lambda: f"{encoded(_DEEP)[:8000]}.{encoded({})}.eA",
    "deep list header": lambda: f"{encoded(b'[' * 5000)}.{encoded({})}.eA",
    "deep claims": lambda: truly_signed(payload=b"[" * 5000),
    "not base64": lambda: "!!!.???.###",
    "not ASCII": lambda: "é.é.é",
    "dots": lambda: "..",
}
"""Each must get 401 with ``error="invalid_token"``."""
