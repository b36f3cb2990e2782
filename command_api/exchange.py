"""Carries one request to the application and its answer back, in one write.

This is uvicorn's own cycle of a request, made for what the API sends: answers that are there whole,
with their length.
"""

from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from command_api.request_state import WHOLE_BODY

CLOSE = (b"connection", b"close")


def complete_scope(scope: Any, method: str, version: str, target: bytes) -> None:
    """Adds to a request's scope what is known once its head has come whole.

    Raises:
        httptools.HttpParserInvalidURLError: the target is none.
        UnicodeDecodeError: its path is not ASCII.
    """
    url = httptools.parse_url(target)
    path = url.path.decode("ascii")
    scope["method"] = method
    scope["http_version"] = version
    scope["path"] = unquote(path) if "%" in path else path
    scope["raw_path"] = url.path
    scope["query_string"] = url.query or b""


def offer_whole_body(scope: Any, body: bytearray) -> None:
    """Lets the application take a body that nobody has to wait for."""
    scope[WHOLE_BODY] = bytes(body)


class Exchange(RequestResponseCycle):
    """Holds an answer's head back until its body is there: one system call sends both."""

    _head = b""

    async def send(self, message: Any) -> None:
        """Takes the two messages of a whole answer.

        Raises:
            RuntimeError: the answer is not whole, or one of its headers would be two.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._head = self._written_head(message["status"], message["headers"])
            self.response_started = True
            self.waiting_for_100_continue = False
        elif self.response_complete or message.get("more_body", False):
            raise RuntimeError("an answer is one head and one body")
        else:
            body = message["body"] if self.scope["method"] != "HEAD" else b""
            self.transport.write(self._head + body)
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _written_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, CLOSE]
        lines = [b"%b: %b\r\n" % header for header in (*self.default_headers, *headers)]
        head = b"".join(lines)
        if head.count(b"\r") != len(lines) or head.count(b"\n") != len(lines):
            raise RuntimeError("a header holds a line break")
        return b"%b%b\r\n" % (STATUS_LINE[status], head)
