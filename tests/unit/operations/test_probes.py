"""Asking a replica, before and after it knows who asks."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from operations.running.probes import ask, shows

ASKER = {"Authorization": "Bearer token", "X-API-Key": "key"}


class _Replica(ThreadingHTTPServer):
    """Answers every page with ``status``, and keeps who asked."""

    status = 200
    asked: dict[str, str]

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/locks/123"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Replica)
        self.server.asked = dict(self.headers.items())
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def replica() -> Iterator[_Replica]:
    with _Replica(("127.0.0.1", 0), _Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_page_is_not_shown_while_the_replica_does_not_know_who_asks_or_for_what(
    replica: _Replica, status: int
) -> None:
    replica.status = status
    assert not shows(replica.page, ASKER)
    replica.status = 200
    assert shows(replica.page, ASKER)
    asked = {name.lower(): value for name, value in replica.asked.items()}
    assert all(asked[name.lower()] == value for name, value in ASKER.items())


def test_a_refusal_that_no_waiting_mends_is_not_waited_for(replica: _Replica) -> None:
    replica.status = 400
    assert shows(replica.page, ASKER)


def test_a_replica_that_does_not_listen_shows_nothing() -> None:
    assert not shows("http://127.0.0.1:1/locks/123", ASKER)


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(
    replica: _Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert shows(replica.page, ASKER)
    assert ask(replica.page).state == "no health page"
