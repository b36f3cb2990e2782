"""An issuer's JWKS endpoint: a real server, which a test may let fail in every way."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime.addresses import in_url

SLOW_PART_S = 0.05


class JwksServer:
    """``document``: what it answers; the other fields make it misbehave."""

    def __init__(self, document: bytes, host: str) -> None:
        self.document = document
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.drip = False
        """Send without an end, a little at a time."""
        self.fetched: list[str] = []
        """The paths that were asked for."""
        self._ended = threading.Event()
        self._host = host
        self._server = _server_class(host)((host, 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://{in_url(self._host)}:{self._server.server_port}/jwks"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.fetched.append(self.path)
                server._ended.wait(server.delay_s)
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                server._send(self.wfile.write)

            def log_message(self, format: str, *args: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # the other side had enough

        return Handler

    def _send(self, write: Callable[[bytes], object]) -> None:
        write(self.document)
        while self.drip and not self._ended.wait(SLOW_PART_S):
            write(b" ")


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server


@contextmanager
def jwks_server(document: bytes, host: str = "127.0.0.1") -> Iterator[JwksServer]:
    server = JwksServer(document, host)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
