"""A stop leaves no request that has come without an answer."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from command_api import listening as listening_module
from command_api.draining import DrainingServer
from runtime.settings import Settings
from tests.certificates import make_certificate
from tests.integration.command_api.listener import Listener, RawConnection, listening

GET = b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"
STOPS = 3
CALLERS = 8


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening(Settings()) as listener:
        yield listener


async def refused(listener: Listener) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                connection = await listener.connect()
            except ConnectionRefusedError:
                return
            await connection.close()
            await asyncio.sleep(0.01)


async def test_what_comes_on_a_kept_connection_after_the_stop_is_answered(
    listener: Listener,
) -> None:
    kept, fresh, idle = [await listener.connect() for _ in range(3)]
    for connection in (kept, idle):
        await connection.send(GET)
        assert "connection" not in (await connection.answer()).headers
    listener.stop.set()
    await refused(listener)
    for connection in (kept, fresh):
        await connection.send(GET)
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.rest() == b""
    assert await idle.rest() == b"", "closed at last, without a word"


async def test_what_is_under_way_at_the_stop_is_answered(listener: Listener) -> None:
    connection, half = await listener.connect(), await listener.connect()
    await connection.send(HELD)
    await half.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    async with asyncio.timeout(10):
        while listener.in_flight.count < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    listener.stop.set()
    await refused(listener)
    listener.held.set()
    await half.send(b"bc")
    for each in (connection, half):
        answer = await each.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_a_head_that_is_half_there_when_the_idle_are_closed_is_answered(
    listener: Listener,
) -> None:
    kept, fresh, idle = [await listener.connect() for _ in range(3)]
    for connection in (kept, idle):
        await connection.send(GET)
        assert (await connection.answer()).status == 200
    for connection in (kept, fresh):
        await connection.send(GET[:20])
    listener.stop.set()
    assert await idle.rest() == b"", "closed"
    for connection in (kept, fresh):
        await connection.send(GET[20:])
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_what_the_kernel_has_connected_before_the_stop_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is awaited between the two: the listener has not been asked for it yet."""
    callers: list[socket.socket] = []

    class LateStop(DrainingServer):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for _ in range(20):
                port = self.servers[0].sockets[0].getsockname()[1]
                caller = socket.create_connection(("127.0.0.1", port))
                caller.sendall(GET)
                callers.append(caller)
            await super().shutdown(sockets)

    monkeypatch.setattr(listening_module, "DrainingServer", LateStop)
    async with listening(Settings()) as listener:
        listener.stop.set()
        await refused(listener)
        assert len(callers) == 20
        for caller in callers:
            connection = RawConnection(*await asyncio.open_connection(sock=caller))
            answer = await connection.answer()
            await connection.close()
            assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_what_has_arrived_unread_when_the_idle_are_closed_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers: list[socket.socket] = []

    class LateCallers(DrainingServer):
        async def _close_idle(self, end: float) -> None:
            for caller in callers:
                caller.setblocking(False)
                caller.sendall(GET)
            await super()._close_idle(end)

    monkeypatch.setattr(listening_module, "DrainingServer", LateCallers)
    async with listening(Settings()) as listener:
        callers += [
            socket.create_connection(("127.0.0.1", listener.settings.api_port)) for _ in range(20)
        ]
        listener.stop.set()
        for caller in callers:
            connection = RawConnection(*await asyncio.open_connection(sock=caller))
            answer = await connection.answer()
            await connection.close()
            assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_a_stop_under_load_cuts_no_request() -> None:
    for _ in range(STOPS):
        async with listening(Settings()) as listener:
            url = f"http://127.0.0.1:{listener.settings.api_port}/body"
            answered = 0

            async def call(client: httpx.AsyncClient, url: str = url) -> None:
                nonlocal answered
                while True:
                    try:
                        answer = await client.post(url, content=b"abc")
                    except httpx.ConnectError:
                        return
                    assert (answer.status_code, answer.content) == (200, b"abc")
                    answered += 1

            anew = httpx.Limits(max_keepalive_connections=0)
            async with (
                httpx.AsyncClient(timeout=20, trust_env=False) as keeping,
                httpx.AsyncClient(timeout=20, limits=anew, trust_env=False) as opening,
                asyncio.timeout(60),
                asyncio.TaskGroup() as callers,
            ):
                for number in range(CALLERS):
                    callers.create_task(call(opening if number % 2 else keeping))
                while answered < 100:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                listener.stop.set()
            assert answered >= 100


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_asked_for_as_a_worker_stops_is_anothers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encrypted: bool
) -> None:
    """It is asked for when the worker has looked for the last time, before its socket is closed."""
    callers: list[socket.socket] = []
    accept = socket.socket.accept
    cert, key = make_certificate(tmp_path) if encrypted else ("", "")
    tls = ssl.create_default_context(cafile=cert) if encrypted else None
    settings = Settings(api_workers=2, tls_cert=cert, tls_key=key)

    async with listening(settings) as stopped, listening(settings, stopped.settings.api_port):
        address = ("127.0.0.1", stopped.settings.api_port)

        def accept_late(listener: socket.socket) -> tuple[socket.socket, object]:
            try:
                return accept(listener)
            except BlockingIOError:
                for _ in range(20):
                    caller = socket.socket()
                    caller.setblocking(False)
                    with suppress(BlockingIOError):
                        caller.connect(address)
                    callers.append(caller)
                raise

        monkeypatch.setattr(socket.socket, "accept", accept_late)
        stopped.stop.set()
        async with asyncio.timeout(10):
            while not callers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        monkeypatch.undo()
        for caller in callers:
            await asyncio.get_running_loop().sock_connect(caller, address)
            name = "127.0.0.1" if encrypted else None
            opened = await asyncio.open_connection(sock=caller, ssl=tls, server_hostname=name)
            connection = RawConnection(*opened)
            await connection.send(GET)
            answer = await connection.answer()
            await connection.close()
            assert answer.status == 200
            assert "connection" not in answer.headers, "by the one that goes on"
