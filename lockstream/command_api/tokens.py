"""JWT: checked against a JWKS file that may be rotated without a restart (RFC 8725)."""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
import msgspec

from lockstream.command_api.errors import Forbidden, Unauthenticated
from lockstream.runtime.errors import ConfigurationError
from lockstream.runtime.process import first_of

log = logging.getLogger(__name__)

LEEWAY_S = 30
MAX_TOKEN_CHARS = 8192
REMEMBERED_TOKENS = 4096
REMEMBERED_S = 60.0
RELOAD_EVERY_S = 1.0
_KEY_ID = re.compile(r"^[A-Za-z0-9_.-]{1,128}\Z")
_TYPES = (None, "JWT", "jwt", "at+jwt", "application/at+jwt")


class Caller(msgspec.Struct, frozen=True):
    """Who presents a token. ``org_id``: of a B2B service; a B2C user has none."""

    subject: str
    org_id: str | None


class KeySet:
    """The signing keys of one issuer, from a JWKS file."""

    def __init__(self, file: Path, algorithms: Sequence[str]) -> None:
        self._file = file
        self._algorithms = tuple(algorithms)
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self.generation = 0

    async def load(self) -> None:
        """
        Raises:
            ConfigurationError: the file is missing or holds no usable key.
        """
        try:
            await self._reload()
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"LOCKSTREAM_JWT_JWKS: {self._file}: {error}") from error

    async def follow(self, stop: asyncio.Event) -> None:
        """Takes changes of the file up until ``stop`` is set. A broken file changes nothing."""
        said = ""
        while not stop.is_set():
            try:
                await self._reload()
                said = ""
            except (OSError, ValueError, jwt.PyJWTError) as error:
                if str(error) != said:
                    log.error("the JWKS file is unusable, the keys stay as they were: %s", error)
                said = str(error)
            await first_of(stop, timeout_s=RELOAD_EVERY_S)

    async def _reload(self) -> None:
        stat = await asyncio.to_thread(self._file.stat)
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return
        document = msgspec.json.decode(await asyncio.to_thread(self._file.read_bytes))
        keys = jwt.PyJWKSet.from_dict(document)
        self._keys = {
            key.key_id: key
            for key in keys.keys
            if key.key_id and key.algorithm_name in self._algorithms
        }
        if not self._keys:
            raise ValueError("no key with a `kid` and an allowed algorithm")
        self._stamp = stamp
        self.generation += 1

    def find(self, key_id: str) -> jwt.PyJWK | None:
        return self._keys.get(key_id)


class TokenChecker:
    """Checks tokens; remembers for a minute those that it has found good."""

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audience: str,
        scope: str,
        max_lifetime_s: float,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._scope = scope
        self._max_lifetime_s = max_lifetime_s
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._generation = 0

    def check(self, token: str, now: float | None = None) -> Caller:
        """
        Raises:
            Unauthenticated: the token is not one of the issuer's, not for us, or not valid now.
            Forbidden: it has a scope, and not the one needed.
        """
        now = time.time() if now is None else now
        if self._generation != self._keys.generation:
            self._remembered.clear()
            self._generation = self._keys.generation
        remembered = self._remembered.get(token)
        if remembered is not None and now < remembered[1]:
            return remembered[0]
        claims = self._decode(token)
        caller = self._read(claims)
        if len(self._remembered) >= REMEMBERED_TOKENS:
            self._remembered.clear()
        self._remembered[token] = (caller, min(now + REMEMBERED_S, claims["exp"] + LEEWAY_S))
        return caller

    def _decode(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise _invalid("The token is too long")
        try:
            header = jwt.get_unverified_header(token)
            key = self._key_for(header)
            algorithm = key.algorithm_name
            if header.get("alg") != algorithm:
                raise _invalid("The token's algorithm is not its key's")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise _invalid("The token has expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise _invalid("The token is not valid") from error
        return claims

    def _key_for(self, header: dict[str, Any]) -> jwt.PyJWK:
        key_id = header.get("kid")
        if not isinstance(key_id, str) or not _KEY_ID.match(key_id):
            raise _invalid("The token names no usable key")
        if header.get("typ") not in _TYPES or header.get("crit") or "b64" in header:
            raise _invalid("The token is not of a kind that is accepted here")
        key = self._keys.find(key_id)
        if key is None:
            raise _invalid("The token's key is not known")
        return key

    def _read(self, claims: dict[str, Any]) -> Caller:
        for name in ("exp", "iat"):
            if isinstance(claims[name], bool) or not isinstance(claims[name], int | float):
                raise _invalid(f"The token's {name} is not a number")
        if claims["exp"] - claims["iat"] > self._max_lifetime_s:
            raise _invalid("The token is valid for too long")
        subject, org_id = claims["sub"], claims.get("org_id")
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
            raise _invalid("The token's sub is not a name")
        if org_id is not None and not isinstance(org_id, str):
            raise _invalid("The token's org_id is not a name")
        granted = claims.get("scope")
        if self._scope and granted is not None:
            names = granted.split() if isinstance(granted, str) else ()
            if self._scope not in names:
                raise Forbidden(
                    f"The token lacks the scope {self._scope}", missing_scope=self._scope
                )
        return Caller(subject, org_id)


def _invalid(message: str) -> Unauthenticated:
    return Unauthenticated(message, token_given=True)
