"""What reaches the application of a body, however it comes."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from command_api.admission import Admission, InFlight
from command_api.errors import InvalidRequest, NotReceivedInTime, TooLarge
from command_api.request_state import begin_request
from runtime.logs import RequestIds

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}


def part(size: int, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def received(*messages: Message, receipt_timeout_s: float = 10.0) -> int:
    """How many bytes of a body reach the application. After the messages, a byte comes now and
    then."""
    coming = list(messages)
    total = 0

    async def receive() -> Message:
        if coming:
            return coming.pop(0)
        await asyncio.sleep(0.02)
        return part(1)

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal total
        more = True
        while more:
            message = await receive()
            total += len(message["body"])
            more = message["more_body"]

    async def send(message: Message) -> None:
        pass

    async with asyncio.timeout(10):
        scope = {**SCOPE}
        begin_request(scope, RequestIds("request"))
        await Admission(read, InFlight(1), receipt_timeout_s)(scope, receive, send)
    return total


async def test_a_body_in_pieces_has_16_kib_at_most() -> None:
    assert await received(part(9_000), part(7_384, more=False)) == 16_384
    with pytest.raises(TooLarge, match="may have 16384 bytes at most"):
        await received(part(9_000), part(7_385, more=False))
    with pytest.raises(TooLarge):
        await received(*[part(1_000)] * 17)


async def test_a_body_in_pieces_has_one_deadline() -> None:
    with pytest.raises(NotReceivedInTime):
        await received(part(1), receipt_timeout_s=0.1)


async def test_a_body_that_ends_too_early_is_no_body() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await received(part(1), {"type": "http.disconnect"})
    assert [bad.field for bad in refused.value.details] == ["body"]
