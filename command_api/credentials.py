"""Finds out from a request's credentials who asks, and for which organisation."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from starlette.requests import HTTPConnection

from command_api.api_key_uses import ApiKeyUses
from command_api.errors import (
    API_KEY_WANTED,
    TOKEN_MISSING,
    Forbidden,
    Unauthenticated,
)
from command_api.request_state import request_state
from command_api.tokens import TokenChecker
from eventlog.registry import Registry
from schemas.api_keys import is_valid, key_id_of
from schemas.lock_facts import Actor
from schemas.registry import ApiKey

Headers = Sequence[tuple[bytes, bytes]]
LONGEST_KEY = 128
REMEMBERED_KEYS = 1024


class Principal(msgspec.Struct, frozen=True):
    """Names a caller with good credentials, who may see only what belongs to ``org_id``, the API
    key's organisation."""

    org_id: str
    actor: Actor


class Authenticator:
    """Checks the API key and the token of a request, each also against the other."""

    def __init__(self, tokens: TokenChecker, registry: Registry, uses: ApiKeyUses) -> None:
        self._tokens = tokens
        self._registry = registry
        self._uses = uses
        # Only of the format: whether the key is good is looked up each time.
        self._key_id_of = lru_cache(REMEMBERED_KEYS)(key_id_of)

    async def authenticate(self, request: HTTPConnection) -> Principal:
        """Checks the API key first, then the token.

        Raises:
            Unauthenticated: a credential is missing, given twice, wrong or expired.
            Forbidden: the token is another organisation's, or lacks the scope.
            IssuerUnavailable: the token can't be checked now.
        """
        headers = request.scope["headers"]
        token = _bearer(headers)
        # The cheap check first: nobody without a key can make us verify signatures or fetch keys.
        now = datetime.now(UTC)
        entry = self._api_key(headers, now)
        request_state(request.scope).api_key = entry
        caller = await self._tokens.check(token)
        if caller.org_id is not None and caller.org_id != entry.org_id:
            raise Forbidden("The token and the API key are of different organisations")
        self._uses.note(entry.key_id, now)
        return Principal(
            org_id=entry.org_id,
            actor=Actor(
                kind="user" if caller.org_id is None else "service",
                subject=caller.subject,
                org_id=entry.org_id,
                key_id=entry.key_id,
            ),
        )

    def _api_key(self, headers: Headers, now: datetime) -> ApiKey:
        key = _single(headers, b"x-api-key", challenge=API_KEY_WANTED)
        if key is None:
            raise Unauthenticated("The X-API-Key header is missing", challenge=API_KEY_WANTED)
        key_id = self._key_id_of(key) if len(key) <= LONGEST_KEY else None
        entry = self._registry.api_key(key_id) if key_id is not None else None
        if not is_valid(key, entry, now) or entry is None:
            raise Unauthenticated("The API key is not valid", challenge=API_KEY_WANTED)
        return entry


def _bearer(headers: Headers) -> str:
    value = _single(headers, b"authorization", challenge=TOKEN_MISSING)
    if value is None:
        raise Unauthenticated("The Authorization header is missing", challenge=TOKEN_MISSING)
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send Authorization: Bearer <token>", challenge=TOKEN_MISSING)
    return token.strip()


def _single(headers: Headers, name: bytes, *, challenge: str) -> str | None:
    values = [value for given, value in headers if given == name]
    if len(values) > 1:
        text = name.decode()
        raise Unauthenticated(f"The {text} header came more than once", challenge=challenge)
    return values[0].decode("latin-1") if values else None
