"""Reads an issuer's JWKS from a file, or from a URL that is never trusted to behave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx

from runtime.addresses import is_loopback
from runtime.errors import IssuerUnavailable
from runtime.issuers import Issuer
from runtime.waiting import within

MAX_JWKS_BYTES = 256 * 1024
FETCH_TIMEOUT_S = 5.0


class JwksSource(Protocol):
    """Reads a JWKS document. ``refresh_s``: seconds between two readings; ``longest_pause_s``:
    between two attempts while reading fails."""

    refresh_s: float
    longest_pause_s: float

    async def read(self) -> bytes:
        """Reads the document.

        Raises:
            IssuerUnavailable: the document can't be read now; the text says why.
        """


class JwksFile:
    refresh_s = 1.0
    longest_pause_s = 1.0

    def __init__(self, file: Path) -> None:
        self._file = file

    async def read(self) -> bytes:
        try:
            document = await asyncio.to_thread(self._read)
        except OSError as error:
            raise IssuerUnavailable(f"{self._file}: {error.strerror}") from error
        return _bounded(document, self._file)

    def _read(self) -> bytes:
        with self._file.open("rb") as stream:
            return stream.read(MAX_JWKS_BYTES + 1)


class JwksUrl:
    longest_pause_s = 10.0

    def __init__(self, url: httpx.URL, client: httpx.AsyncClient, refresh_s: float) -> None:
        self._url = url
        self._client = client
        self._name = url.copy_with(query=None)
        self.refresh_s = refresh_s

    async def read(self) -> bytes:
        try:
            return await within(self._fetch(), FETCH_TIMEOUT_S)
        except TimeoutError as error:
            raise IssuerUnavailable(
                f"{self._name}: no whole answer in {FETCH_TIMEOUT_S:.0f} s"
            ) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise IssuerUnavailable(f"{self._name}: {error!r}") from error

    async def _fetch(self) -> bytes:
        # Compressed, a small answer could become a large one.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != 200:
                raise IssuerUnavailable(f"{self._name}: answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise IssuerUnavailable(f"{self._name}: the answer is compressed")
            body = b""
            async for part in response.aiter_raw():
                body = _bounded(body + part, self._name)
            return body


def _bounded(document: bytes, name: object) -> bytes:
    if len(document) > MAX_JWKS_BYTES:
        raise IssuerUnavailable(f"{name}: more than {MAX_JWKS_BYTES} bytes")
    return document


@asynccontextmanager
async def open_source(issuer: Issuer, refresh_s: float) -> AsyncIterator[JwksSource]:
    """Opens the source of an issuer. ``refresh_s``: a URL's; a file is read every second."""
    url = issuer.jwks_url
    if url is None:
        yield JwksFile(Path(issuer.jwks))
        return
    # In a thread: it reads the CA bundle. A proxy of the environment is not for this machine.
    client = await asyncio.to_thread(
        httpx.AsyncClient,
        follow_redirects=False,
        timeout=FETCH_TIMEOUT_S,
        trust_env=not is_loopback(url.host),
    )
    async with client:
        yield JwksUrl(url, client, refresh_s)
