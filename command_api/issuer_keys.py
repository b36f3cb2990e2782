"""Keeps the public keys of an issuer fresh, and never holds up a token whose key is known.

One task reads, so there is one fetch at a time. What may happen:

- The issuer can't be reached, or its answer can't be used: the keys stay as they were, for
  ``max_stale_s`` after the last good answer; attempts come with growing pauses.
- A token names an unknown key: the issuer is asked at once and the token waits for that answer, so
  a rotation fails no request. Fruitless lookups are rate-limited.
- Nothing was ever read, or too long ago, or the issuer can't be asked about an unknown key: whether
  a token is good can't be known, which is ``IssuerUnavailable`` (503) and no refusal.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import jwt
import msgspec

from command_api.jwks_sources import JwksSource, open_source
from command_api.token_bucket import Quota, TokenBucket
from runtime.errors import ConfigurationError, IssuerUnavailable
from runtime.issuers import VARIABLE, Issuer
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.waiting import first_of, until_stopped, within

log = logging.getLogger(__name__)

KEY_ID = re.compile(r"^[A-Za-z0-9_.-]{1,128}\Z")
MAX_KEYS = 128
FIRST_PAUSE_S = 1.0
WAIT_S = 3.0
MAX_WAITING = 256
WATCH_EVERY_S = 1.0
OBSTACLE = "token issuers"
FRUITLESS_LOOKUPS = Quota("fruitless lookups", 5, 50)
"""Readings for an unknown key that bring no new keys: 5 at once, then one every 10 s."""


class IssuerKeys:
    """Holds the keys of one issuer. They are good for ``max_stale_s`` seconds after they were last
    read."""

    def __init__(self, issuer: Issuer, source: JwksSource, max_stale_s: float) -> None:
        self.issuer = issuer
        self.generation = 0
        """Goes up whenever the keys have changed."""
        self._source = source
        self._max_stale_s = max_stale_s
        self._document: bytes | None = None
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._failures = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._lookups_left = TokenBucket.full(FRUITLESS_LOOKUPS, time.monotonic())

    @property
    def usable(self) -> bool:
        return time.monotonic() - self._read_at <= self._max_stale_s

    def age_s(self) -> float:
        """Returns the seconds since the last good reading; infinite before the first."""
        return time.monotonic() - self._read_at

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Returns the key, or None if the issuer has none of this name.

        Raises:
            IssuerUnavailable: the answer can't be known now.
        """
        key = self._usable_keys().get(key_id)
        if key is None and self._failures:
            raise IssuerUnavailable(f"{self.issuer.issuer} can't be asked for a key")
        if key is not None or not self._may_look_up():
            return key
        await self._next_reading()
        return self._usable_keys().get(key_id)

    def _may_look_up(self) -> bool:
        self._lookups_left = self._lookups_left.refilled(time.monotonic())
        return self._lookups_left.tokens >= 1

    def _usable_keys(self) -> Mapping[str, jwt.PyJWK]:
        if not self.usable:
            raise IssuerUnavailable(f"the keys of {self.issuer.issuer} could not be read")
        return self._keys

    async def _next_reading(self) -> None:
        """Waits for a reading that began after this call."""
        if len(self._waiting) >= MAX_WAITING:
            raise IssuerUnavailable(f"too many tokens wait for keys of {self.issuer.issuer}")
        read = asyncio.get_running_loop().create_future()
        self._waiting.append(read)
        self._wanted.set()
        try:
            await within(read, WAIT_S)
        except TimeoutError as error:
            raise IssuerUnavailable(f"{self.issuer.issuer} answers too slowly") from error
        finally:
            if read in self._waiting:
                self._waiting.remove(read)

    async def load(self) -> None:
        """Reads the keys for the first time.

        Raises:
            IssuerUnavailable: this reading failed; ``follow`` will try again.
        """
        try:
            self._take(await self._source.read())
        except IssuerUnavailable:
            self._failures = 1
            raise

    async def follow(self, stop: asyncio.Event) -> None:
        """Keeps the keys fresh until ``stop`` is set, then cancels a reading under way."""
        await until_stopped(stop, self._keep_reading())

    async def _keep_reading(self) -> None:
        while True:
            if self._failures:
                pause = FIRST_PAUSE_S * 2 ** min(self._failures - 1, 16)
                await asyncio.sleep(min(pause, self._source.longest_pause_s))
            else:
                await first_of(self._wanted, timeout_s=self._source.refresh_s)
            await self._read()

    async def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._wanted.clear()
        before = self.generation
        answer: IssuerUnavailable | None = IssuerUnavailable("the reading was cancelled")
        try:
            self._take(await self._source.read())
        except IssuerUnavailable as error:
            self._failures += 1
            if self._failures == 1:
                log.warning("the keys of %s stay as they are: %s", self.issuer.issuer, error)
            answer = error
        else:
            answer = None
            if waiting and self.generation == before:
                self._lookups_left = self._lookups_left.take()
        finally:
            for read in waiting:
                _settle(read, answer)

    def _take(self, document: bytes) -> None:
        if document != self._document:
            self._keys = read_keys(document, self.issuer)
            self._document = document
            self.generation += 1
            log.info("%s has the keys %s", self.issuer.issuer, ", ".join(sorted(self._keys)))
        elif self._failures:
            log.info("the keys of %s can be read again", self.issuer.issuer)
        self._read_at = time.monotonic()
        self._failures = 0


@asynccontextmanager
async def open_issuer_keys(
    issuers: Sequence[Issuer], settings: Settings
) -> AsyncIterator[list[IssuerKeys]]:
    """Reads the keys of each issuer once. A URL that can't be read yet will be tried again.

    Raises:
        ConfigurationError: a file can't be read or holds no usable key.
    """
    async with AsyncExitStack() as open_sources:
        all_keys = []
        for issuer in issuers:
            source = await open_sources.enter_async_context(
                open_source(issuer, settings.jwt_jwks_refresh)
            )
            all_keys.append(IssuerKeys(issuer, source, settings.jwt_jwks_max_stale))
        await asyncio.gather(*(_load(keys) for keys in all_keys))
        yield all_keys


async def _load(keys: IssuerKeys) -> None:
    try:
        await keys.load()
    except IssuerUnavailable as error:
        if keys.issuer.jwks_url is None:
            raise ConfigurationError(f"{VARIABLE}: {error}") from error
        log.warning(
            "the tokens of %s get 503 until its keys are read: %s", keys.issuer.issuer, error
        )


async def watch_issuers(
    all_keys: Sequence[IssuerKeys], readiness: Readiness, stop: asyncio.Event
) -> None:
    """Reports to readiness whether any issuer's keys are usable, until ``stop`` is set. One lost
    issuer must not cost the others their service."""
    while not stop.is_set():
        if any(keys.usable for keys in all_keys):
            readiness.clear(OBSTACLE)
        else:
            readiness.block(OBSTACLE, "no issuer's keys can be read")
        await first_of(stop, timeout_s=WATCH_EVERY_S)


def _settle(waiter: asyncio.Future[None], error: IssuerUnavailable | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(IssuerUnavailable(str(error)))


def read_keys(document: bytes, issuer: Issuer) -> dict[str, jwt.PyJWK]:
    """Reads the usable keys of a JWKS (RFC 7517): with a ``kid``, for signatures, of an algorithm
    that the issuer may use. Each key has one algorithm. Others are passed over (section 5).

    Raises:
        IssuerUnavailable: the document is no JWKS, or has no usable key.
    """
    try:
        entries = msgspec.json.decode(document, type=_Jwks).keys
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IssuerUnavailable(f"{issuer.jwks}: {error}") from error
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries[:MAX_KEYS]:
        key = _read_key(entry)
        if key is not None and key.algorithm_name in issuer.algorithms:
            keys[str(key.key_id)] = key
    if not keys:
        raise IssuerUnavailable(f"{issuer.jwks}: no key with a `kid` and an allowed algorithm")
    return keys


def _read_key(entry: dict[str, object]) -> jwt.PyJWK | None:
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or KEY_ID.match(key_id) is None:
        return None
    if entry.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(entry)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None


class _Jwks(msgspec.Struct):
    keys: list[dict[str, object]]
