"""Refuses what uvicorn's HTTP parser lets through and this service does not.

Stock uvicorn waits for ever for a first byte, a head or a body, has no limit for heads, takes two
``Host`` headers, and adds trailers to the headers, so that credentials in trailers would count.
This rests on internals of uvicorn: its minor version is pinned, and a test probes each promise over
a raw socket.
"""

import asyncio
import math
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
from command_api.exchange import Exchange, complete_scope, offer_whole_body
from runtime.addresses import unmapped
from runtime.errors import CommandRefused

MAX_HEAD_BYTES = 16 * 1024
LINGER_S = 2.0
"""How long a refusal waits to be read: with unread input, a close at once would reset it away."""
BODY_GRACE_S = 1.0
"""Admission answers a late body first; only what it did not wait for is left to this class."""
NEVER = math.inf
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
        self._deadline = self._kept_until = self._timer_due = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._served: RequestResponseCycle | None = None
        self._refusal: CommandRefused | None = None
        self._refused = False
        self._draining = False
        self._begin_message(started=False)
        self._set_deadline(self.receipt_timeout_s)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
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
        self._kept_until = NEVER
        if self._deadline == NEVER:
            self._set_deadline(self.receipt_timeout_s)
        self._understood = self._head_is_new = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or _malformed("request", "is not well-formed HTTP/1.1"))
        if not self._understood:
            # A name, a value or a line that does not end: the parser keeps it all.
            self._open_bytes += len(data)
            if self._open_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
        self._watch()

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
        self._understood = True
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop_parsing(_head_too_large())
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._understood = True
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop_parsing(_head_too_large())
        # Anything else is a trailer: none has a use here, and no credential may hide in one.
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._understood = self._head_is_new = True
        version = self.parser.get_http_version()
        self._check_head(version)
        self._in_head = False
        method = self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade() and method != "CONNECT":
            # A mere offer, which a server is free to ignore (RFC 9110, section 7.8).
            self.scope["method"] = method
            self._offered = True
            return
        complete_scope(self.scope, method, version, self.url)
        before, self.cycle = self.cycle, self._exchange(version)
        if self._draining:
            self.cycle.keep_alive = False
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            # The answers go out in the order of their requests.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self._set_deadline(self.receipt_timeout_s + BODY_GRACE_S)

    def _exchange(self, version: str) -> Exchange:
        return Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def _check_head(self, version: str) -> None:
        hosts: list[bytes] = []
        codings: list[bytes] = []
        has_length = False
        for name, value in self.headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"transfer-encoding":
                codings.append(value.lower())
            elif name == b"content-length":
                has_length = True
        if version not in ("1.0", "1.1"):
            self._stop_parsing(_malformed("request", "is not HTTP/1.1"))
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            self._stop_parsing(_malformed("Host", "must be given exactly once"))
        if hosts and not _HOST.match(hosts[0]):
            self._stop_parsing(_malformed("Host", "is not a host name"))
        if codings and has_length:
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
        self._deadline = NEVER
        if self._head_is_new:
            # The application has not begun to read.
            offer_whole_body(self.scope, self.cycle.body)
        super().on_message_complete()
        if self.cycle.response_complete:
            # The answer came before the end of the request: nothing else begins this time-out.
            self._keep()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._keep()
            self._watch()

    # -- deadlines -----------------------------------------------------------------------------

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds

    def _keep(self) -> None:
        """Lets the connection wait for its next request."""
        self._kept_until = self.loop.time() + self.timeout_keep_alive

    def _watch(self) -> None:
        """Has the timer go off at the next deadline, or before it: one that moves on leaves the
        timer alone, so a request that comes whole needs none."""
        due = min(self._deadline, self._kept_until)
        if due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_due = self.loop.call_at(due, self._look), due

    def _look(self) -> None:
        self._timer, self._timer_due = None, NEVER
        now = self.loop.time()
        if self._deadline <= now:
            self._deadline = NEVER
            self._deadline_passed()
        if self._kept_until <= now:
            self._kept_until = NEVER
            self.transport.close()
        self._watch()

    def _deadline_passed(self) -> None:
        if self._refused or self.transport.is_closing():
            self.transport.close()
        elif self._answers_an_earlier_request():
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
        self._deadline = NEVER
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
        self._set_deadline(LINGER_S)
        self._watch()

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
