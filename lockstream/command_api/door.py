"""The outer ASGI layer: request ids, the body limit, and how many commands at once."""

from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockstream.command_api.errors import TooLarge, error_response
from lockstream.command_api.requests import MAX_BODY_BYTES
from lockstream.runtime.errors import Unavailable

REQUEST_ID = b"x-request-id"
MAX_REQUEST_ID = 128


class Door:
    """Wraps the application. Everything it answers has the shape of all errors."""

    def __init__(self, app: ASGIApp, max_in_flight: int) -> None:
        self._app = app
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id)]
            await send(message)

        if scope["path"] in ("/livez", "/readyz", "/metrics"):
            await self._app(scope, receive, send_with_id)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            await error_response(accept, refusal)(scope, receive, send_with_id)
            return
        self._in_flight += 1
        try:
            await self._app(scope, _Limited(receive), send_with_id)
        finally:
            self._in_flight -= 1

    def _refuse(self, scope: Scope) -> Exception | None:
        if self._in_flight >= self._max_in_flight:
            return Unavailable("too many requests at once")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _too_large()
        return None


class _Limited:
    """Counts the body as it comes: its length need not have been announced."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY_BYTES:
            raise _too_large()
        return message


def _too_large() -> TooLarge:
    return TooLarge(f"The body may have {MAX_BODY_BYTES} bytes at most")


def _request_id(scope: Scope) -> bytes:
    """The caller's own if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and 0 < len(value) <= MAX_REQUEST_ID and _harmless(value):
            return bytes(value)
    return uuid4().hex.encode()


def _harmless(value: bytes) -> bool:
    return all(33 <= byte <= 126 for byte in value)
