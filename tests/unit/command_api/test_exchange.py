"""How an answer is written: at once, and as one answer."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from command_api.exchange import Exchange

LENGTH = (b"content-length", b"2")


class Written(asyncio.Transport):
    """What is written stays here."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def exchange(transport: Written, method: str = "GET", *, keep_alive: bool = True) -> Exchange:
    log = logging.getLogger("test")
    scope: Any = {"type": "http", "method": method}
    return Exchange(
        scope=scope,
        transport=transport,
        flow=FlowControl(transport),
        logger=log,
        access_logger=log,
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )


async def answer(
    exchange: Exchange, *headers: tuple[bytes, bytes], body: bytes = b"{}", more: bool = False
) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": list(headers)}
    await exchange.send(start)
    await exchange.send({"type": "http.response.body", "body": body, "more_body": more})


async def test_head_and_body_are_one_write() -> None:
    transport = Written()
    await answer(exchange(transport), LENGTH)
    assert transport.writes == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\n{}"]
    assert not transport.closed


async def test_an_answer_to_head_has_no_body() -> None:
    transport = Written()
    await answer(exchange(transport, "HEAD"), LENGTH)
    assert transport.writes == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\n"]


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_a_last_answer_says_so_once(keep_alive: bool) -> None:
    transport = Written()
    close = () if not keep_alive else ((b"connection", b"close"),)
    await answer(exchange(transport, keep_alive=keep_alive), LENGTH, *close)
    assert transport.writes[0].count(b"connection: close\r\n") == 1
    assert transport.closed


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\r\n\r\n<html>"])
async def test_no_header_becomes_two(value: bytes) -> None:
    transport = Written()
    with pytest.raises(RuntimeError, match="line break"):
        await answer(exchange(transport), LENGTH, (b"location", value))
    assert transport.writes == []


async def test_an_answer_in_pieces_is_refused() -> None:
    transport = Written()
    with pytest.raises(RuntimeError, match="one head and one body"):
        await answer(exchange(transport), LENGTH, more=True)
    assert transport.writes == []


async def test_nothing_is_written_to_a_client_that_is_gone() -> None:
    transport = Written()
    gone = exchange(transport)
    gone.disconnected = True
    await answer(gone, LENGTH)
    assert transport.writes == []
