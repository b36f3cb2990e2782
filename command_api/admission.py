"""Decides which requests reach the application: by host, by size, by how many are in flight."""

import asyncio
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from command_api.errors import (
    BadField,
    InvalidRequest,
    NotReceivedInTime,
    TooLarge,
    error_context,
    error_response,
)
from command_api.request_state import WHOLE_BODY
from command_api.requests import MAX_BODY_BYTES
from runtime.errors import Unavailable

PROBES = ("/livez", "/readyz", "/metrics")


class InFlight:
    """Counts the requests that are being answered, of which there are ``most`` at most."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0


class Admission:
    """Refuses what must not reach the application."""

    def __init__(
        self,
        app: ASGIApp,
        in_flight: InFlight,
        receipt_timeout_s: float,
        trusted_hosts: Sequence[str] = (),
    ) -> None:
        """``trusted_hosts``: names, or ``*.domain`` for all below it; empty: any."""
        self._app = app
        self._in_flight = in_flight
        self._receipt_timeout_s = receipt_timeout_s
        self._trusted_hosts = tuple(host.lower() for host in trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            # Probes come by address, and must get through when nothing else does.
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            context = error_context(Headers(scope=scope), scope["method"])
            await error_response(context, refusal)(scope, receive, send)
            return
        self._in_flight.count += 1
        try:
            limited = _LimitedBody(receive, self._receipt_timeout_s, scope.get(WHOLE_BODY))
            await self._app(scope, limited, send)
        finally:
            self._in_flight.count -= 1

    def _refuse(self, scope: Scope) -> Exception | None:
        if self._in_flight.count >= self._in_flight.most:
            return Unavailable("too many requests at once")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._trusted_hosts and not self._trusts(headers.get(b"host", b"")):
            return InvalidRequest((BadField("Host", "is not served here"),))
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _too_large()
        return None

    def _trusts(self, header: bytes) -> bool:
        host = host_without_port(header.decode("latin-1").lower())
        return any(
            host == trusted or (trusted.startswith("*.") and host.endswith(trusted[1:]))
            for trusted in self._trusted_hosts
        )


def host_without_port(host: str) -> str:
    """Makes ``example.org`` of ``example.org:443``, and ``[::1]`` of ``[::1]:443``."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


class _LimitedBody:
    """Counts a body as it arrives, since its length need not be announced, and waits for it
    ``timeout_s`` seconds at most in all. ``whole``: the body, if it is there already."""

    def __init__(self, receive: Receive, timeout_s: float, whole: bytes | None) -> None:
        self._receive = receive
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._received = 0
        self._coming = whole
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise InvalidRequest((BadField("body", "ended before it was complete"),))
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._received > MAX_BODY_BYTES:
            raise _too_large()
        return message

    async def _next(self) -> Message:
        if self._coming is not None:
            return {"type": "http.request", "body": self._coming}
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            raise NotReceivedInTime from None


async def whole_body(receive: Receive) -> bytes:
    """Returns what comes through a ``_LimitedBody``."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


def _too_large() -> TooLarge:
    return TooLarge(f"The body may have {MAX_BODY_BYTES} bytes at most")
