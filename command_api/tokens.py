"""Checks JWTs against the keys of the issuers that they name (RFC 7519, RFC 8725)."""

import re
import time
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec

from command_api.errors import TOKEN_INVALID, Forbidden, Unauthenticated
from command_api.issuer_keys import KEY_ID, IssuerKeys

LEEWAY_S = 30
MAX_TOKEN_CHARS = 8192
REMEMBERED_TOKENS = 4096
REMEMBERED_S = 60.0
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_SUBJECT = re.compile(r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}\Z")
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError)


class Caller(msgspec.Struct, frozen=True):
    """Names who presents a token. ``org_id``: a B2B service's; a B2C user has none."""

    subject: str
    org_id: str | None


class _Found(msgspec.Struct, frozen=True):
    """Remembers a token that was found good: until when, and with which of its issuer's keys."""

    caller: Caller
    until: float
    keys: IssuerKeys
    generation: int

    def holds(self, now: float) -> bool:
        return now < self.until and self.generation == self.keys.generation


class TokenChecker:
    """Checks tokens, and remembers good ones for a minute."""

    def __init__(self, issuers: Sequence[IssuerKeys], max_lifetime_s: float) -> None:
        self._issuers = {keys.issuer.issuer: keys for keys in issuers}
        self._max_lifetime_s = max_lifetime_s
        self._remembered: dict[str, _Found] = {}

    async def check(self, token: str, now: float | None = None) -> Caller:
        """Returns who presents the token. ``now``: seconds since 1970; None: the clock's.

        Raises:
            Unauthenticated: the issuer or the audience is none of ours, or it is not valid now.
            Forbidden: it has scopes, and not the one needed.
            IssuerUnavailable: the issuer's keys can't be known now.
        """
        now = time.time() if now is None else now
        before = self._remembered.get(token)
        if before is not None and before.holds(now):
            return before.caller
        header, unverified = _parse(token)
        keys = self._keys_of(unverified.get("iss"))
        key = await keys.find(_key_id(header))
        if key is None:
            raise _invalid("The token's key is not known")
        generation = keys.generation
        claims = _verify(token, header, key, keys)
        caller = self._read(claims, keys.issuer.scope)
        if len(self._remembered) >= REMEMBERED_TOKENS:
            self._remembered.clear()
        until = min(now + REMEMBERED_S, claims["exp"] + LEEWAY_S)
        self._remembered[token] = _Found(caller, until, keys, generation)
        return caller

    def _keys_of(self, issuer: object) -> IssuerKeys:
        keys = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            raise _invalid("The token's issuer is not known")
        return keys

    def _read(self, claims: dict[str, Any], scope: str) -> Caller:
        for name in ("exp", "iat"):
            if isinstance(claims[name], bool) or not isinstance(claims[name], int | float):
                raise _invalid(f"The token's {name} is not a number")
        if claims["exp"] - claims["iat"] > self._max_lifetime_s:
            raise _invalid("The token is valid for too long")
        subject, org_id = claims["sub"], claims.get("org_id")
        if not isinstance(subject, str) or _SUBJECT.match(subject) is None:
            raise _invalid("The token's sub is not a name")
        if org_id is not None and not isinstance(org_id, str):
            raise _invalid("The token's org_id is not a name")
        granted = [claims[name] for name in ("scope", "scp") if claims.get(name) is not None]
        if scope and granted and not any(scope in _scopes(claim) for claim in granted):
            raise Forbidden(f"The token lacks the scope {scope}", missing_scope=scope)
        return Caller(subject, org_id)


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns header and claims, without any check of the signature."""
    if len(token) > MAX_TOKEN_CHARS:
        raise _invalid("The token is too long")
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except _UNREADABLE as error:
        raise _invalid("The token is not valid") from error
    header: dict[str, Any] = parts["header"]
    claims: dict[str, Any] = parts["payload"]
    return header, claims


def _key_id(header: dict[str, Any]) -> str:
    key_id, kind = header.get("kid"), header.get("typ", "JWT")
    if not isinstance(key_id, str) or KEY_ID.match(key_id) is None:
        raise _invalid("The token names no usable key")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _invalid("The token is not of a kind that is accepted here")
    if "crit" in header or "b64" in header:
        raise _invalid("The token is not of a kind that is accepted here")
    return key_id


def _verify(token: str, header: dict[str, Any], key: jwt.PyJWK, keys: IssuerKeys) -> dict[str, Any]:
    if header.get("alg") != key.algorithm_name:
        raise _invalid("The token's algorithm is not its key's")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=keys.issuer.audience,
            issuer=keys.issuer.issuer,
            leeway=LEEWAY_S,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub"],
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.ExpiredSignatureError as error:
        raise _invalid("The token has expired") from error
    except _UNREADABLE as error:
        raise _invalid("The token is not valid") from error
    return claims


def _scopes(claim: object) -> Sequence[object]:
    """Splits a text with spaces (RFC 8693, section 4.2). Some issuers send a list."""
    return claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()


def _invalid(message: str) -> Unauthenticated:
    return Unauthenticated(message, challenge=TOKEN_INVALID)
