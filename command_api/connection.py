"""Refuses what uvicorn's HTTP parser lets through and this service does not.

Stock uvicorn waits for ever for a first byte, a head or a body, has no limit for heads, takes two
``Host`` headers, and adds trailers to the headers, so that credentials in trailers would count.
This rests on internals of uvicorn: its minor version is pinned, and a test probes each promise over
a raw socket.
"""

import asyncio
import re
import select
from collections.abc import Sequence
from uuid import uuid4

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from command_api.errors import (
    BadField,
    ErrorContext,
    HeadTooLarge,
    InvalidRequest,
    NotReceivedInTime,
    error_response,
)
from runtime.addresses import unmapped
from runtime.errors import CommandRefused

MAX_HEAD_BYTES = 16 * 1024
LINGER_S = 2.0
"""How long a refusal waits to be read: with unread input, a close at once would reset it away."""
BODY_GRACE_S = 1.0
"""Admission answers a late body first; only what it did not wait for is left to this class."""
_OFFERS = (b"upgrade", b"http2-settings")
_HOST = re.compile(rb"^[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*\Z")


class GuardedConnection(HttpToolsProtocol):
    """Gives a head ``receipt_timeout_s`` seconds to come, and a body the same again."""

    receipt_timeout_s = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None:
            # Without this no proxy with an IPv4 address would be trusted where we listen on `::`.
            self.client = (unmapped(self.client[0]), self.client[1])
        self._deadline: asyncio.TimerHandle | None = None
        self._served: RequestResponseCycle | None = None
        self._refusal: CommandRefused | None = None
        self._refused = False
        self._draining = False
        self._begin_message(started=False)
        self._set_deadline(self.receipt_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._refused or self.idle:
            self.transport.close()
        else:
            self.drain()

    def drain(self) -> None:
        """Makes every answer from now on the last one on its connection, and say so."""
        self._draining = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    @property
    def idle(self) -> bool:
        """Tells whether nobody waits for an answer, as far as has been read."""
        return not self._started and (self.cycle is None or self.cycle.response_complete)

    @property
    def unread(self) -> bool:
        """Tells whether something has come that was not read yet, an end of the input included."""
        arrived = select.poll()
        arrived.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(arrived.poll(0))

    # -- receiving -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._deadline is None:
            self._set_deadline(self.receipt_timeout_s)
        self._understood = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or _malformed("request", "is not well-formed HTTP/1.1"))
        if not self._understood:
            # A name, a value or a line that does not end: the parser keeps it all.
            self._open_bytes += len(data)
            if self._open_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())

    def _parse(self, data: bytes) -> None:
        """Feeds the parser, which calls back.

        Raises:
            httptools.HttpParserError: the data is not HTTP, or a call-back has refused it.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                # The parser takes what follows an offer for the other protocol: it is the body.
                version = self.parser.get_http_version()
                head = head_without_offer(self.scope["method"], self.url, version, self.headers)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                data = head + data[stopped.args[0] :]
            else:
                return

    def _begin_message(self, *, started: bool) -> None:
        self._offered = False
        self._started = started
        self._in_head = True
        self._understood = True
        self._head_bytes = 0
        self._open_bytes = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_message(started=True)
        self._set_deadline(self.receipt_timeout_s)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)
        # Anything else is a trailer: none has a use here, and no credential may hide in one.

    def _count(self, size: int) -> None:
        self._understood = True
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop_parsing(_head_too_large())

    def on_headers_complete(self) -> None:
        self._understood = True
        self._check_head()
        self._in_head = False
        method = self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade() and method != "CONNECT":
            # A mere offer, which a server is free to ignore (RFC 9110, section 7.8).
            self.scope["method"] = method
            self._offered = True
            return
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False
        self._set_deadline(self.receipt_timeout_s + BODY_GRACE_S)

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        named = [name for name, _ in self.headers]
        hosts = [value for name, value in self.headers if name == b"host"]
        if version not in ("1.0", "1.1"):
            self._stop_parsing(_malformed("request", "is not HTTP/1.1"))
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            self._stop_parsing(_malformed("Host", "must be given exactly once"))
        if hosts and not _HOST.match(hosts[0]):
            self._stop_parsing(_malformed("Host", "is not a host name"))
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and b"content-length" in named:
            self._stop_parsing(_malformed("Transfer-Encoding", "excludes Content-Length"))
        if codings and (codings != [b"chunked"] or version == "1.0"):
            self._stop_parsing(_malformed("Transfer-Encoding", "can be chunked only"))

    def _stop_parsing(self, refusal: CommandRefused) -> None:
        """Ends the parsing, for which a call-back of the parser has to raise."""
        self._refusal = refusal
        raise refusal

    def on_body(self, body: bytes) -> None:
        self._understood = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._understood = True
        if self._offered:
            return
        self._started = False
        self._in_head = True
        self._clear_deadline()
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            # The answer came before the end of the request: nothing else begins this time-out.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # -- deadlines -----------------------------------------------------------------------------

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._deadline_passed)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._answers_an_earlier_request():
            self._set_deadline(self.receipt_timeout_s)
        elif self._started:
            self._refuse(NotReceivedInTime())
        else:
            self.transport.close()

    # -- refusing ------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _answers_an_earlier_request(self) -> bool:
        """Tells whether a request that came whole has no complete answer yet."""
        served = self._served
        if served is None or served.response_complete:
            return False
        return served is not self.cycle or not served.more_body

    def _refuse(self, refusal: CommandRefused) -> None:
        """Answers what can't reach the application, and ends the connection."""
        if self._refused:
            return
        self._refused = True
        self._clear_deadline()
        if self._answers_an_earlier_request():
            assert self._served is not None
            # That answer goes first; what followed is dropped, unanswered and without effect.
            self._served.keep_alive = False
            self.pipeline.clear()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self._hang_up_on_the_application()
        elif self.cycle is not None and not self._in_head:
            self.transport.close()
            return
        accept = dict(self.headers or ()).get(b"accept", b"").decode("latin-1")
        self.transport.write(self._written(error_response(ErrorContext(accept), refusal)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)

    def _hang_up_on_the_application(self) -> None:
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _written(self, response: Response) -> bytes:
        """Writes an answer out, with the headers that the application's layers would have added."""
        headers = [
            *self.server_state.default_headers,
            *((name, value) for name, value in response.raw_headers if name != b"connection"),
            (b"x-request-id", uuid4().hex.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)


def connection_class(receipt_timeout_s: float) -> type[GuardedConnection]:
    """Makes a class with this deadline, since uvicorn makes the connections."""
    return type("Connection", (GuardedConnection,), {"receipt_timeout_s": receipt_timeout_s})


def head_without_offer(
    method: str, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Writes a request's head as if its sender had not offered another protocol."""
    lines = [b"%s %s HTTP/%s" % (method.encode(), target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            kept = [o for o in value.split(b",") if o.strip().lower() not in _OFFERS]
            if kept:
                lines.append(name + b":" + b",".join(kept))
        elif name not in _OFFERS:
            lines.append(name + b":" + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _malformed(field: str, message: str) -> InvalidRequest:
    return InvalidRequest((BadField(field, message),))


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"The request line and headers may have {MAX_HEAD_BYTES} bytes at most")
