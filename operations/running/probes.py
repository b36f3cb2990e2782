"""Asks replicas whether they are ready, and why not."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from runtime.addresses import is_loopback

PROBE_S = 2.0
PAGE_BYTES = 1_000_000
_NOT_KNOWN_YET = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


class PageStatus(msgspec.Struct, frozen=True):
    """What one replica says of itself on ``/readyz``."""

    page: str
    state: str
    obstacles: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.state == "ready"


class _Page(msgspec.Struct):
    status: str
    obstacles: dict[str, str] = {}


def ask(page: str) -> PageStatus:
    """Asks a replica. ``page``: its address, ``http://host:port``."""
    try:
        with _open(urllib.request.Request(f"{page}/readyz")) as answer:
            said = answer.read(PAGE_BYTES)
    except urllib.error.HTTPError as error:
        said = error.read(PAGE_BYTES)
    except (OSError, ValueError) as error:
        return PageStatus(page, "no answer", {"its health page": str(error)})
    try:
        read = msgspec.json.decode(said, type=_Page)
    except msgspec.DecodeError:
        return PageStatus(page, "no health page", {"it says": said[:200].decode(errors="replace")})
    return PageStatus(page, read.status, read.obstacles)


def shows(page: str, headers: Mapping[str, str]) -> bool:
    """Tells whether ``page`` is shown to a client with ``headers``, and both are known."""
    request = urllib.request.Request(page, headers=dict(headers))
    try:
        with _open(request):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in _NOT_KNOWN_YET
    except OSError:
        return False


def _open(request: urllib.request.Request) -> Any:
    """Returns the answer, with ``PROBE_S`` seconds for each step. Uses no proxy for this machine:
    those of the environment are for the world outside.

    Raises:
        OSError: no answer, or one that says an error.
    """
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=_trusting())]
    if is_loopback(urlsplit(request.full_url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers).open(request, timeout=PROBE_S)


def _trusting() -> ssl.SSLContext:
    """Accepts any certificate: a replica is asked by its address, which its certificate may not
    name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
