"""What the connection itself refuses, over raw sockets. It rests on internals of uvicorn."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from runtime.settings import Settings
from tests.integration.command_api.listener import Answer, Listener, listening

PATIENCE_S = 0.4
POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening(Settings(receipt_timeout=PATIENCE_S)) as listener:
        yield listener


def assert_refused(answer: Answer, status: int) -> None:
    """In the shape of all errors, with the headers of all answers; and the connection ends."""
    assert answer.status == answer.json()["code"] == status
    assert {"error", "message"} <= set(answer.json())
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_socket_that_says_nothing_is_closed(listener: Listener) -> None:
    connection = await listener.connect()
    assert await connection.rest() == b""


async def test_half_a_head_is_answered_with_408_and_closed(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(POST)
    assert_refused(await connection.answer(), 408)
    assert await connection.rest() == b""


async def test_a_head_that_drips_in_has_the_same_deadline(listener: Listener) -> None:
    connection = await listener.connect()
    started_at = time.monotonic()
    await connection.send(POST)
    answering = asyncio.create_task(connection.answer())
    while not answering.done():
        await connection.send(b"A: b\r\n")
        await asyncio.wait([answering], timeout=PATIENCE_S / 8)
    assert_refused(await answering, 408)
    assert time.monotonic() - started_at >= PATIENCE_S * 0.9


async def test_half_a_body_is_answered_with_408_and_closed(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(POST + b"Content-Length: 10\r\n\r\n12345")
    assert_refused(await connection.answer(), 408)
    assert await connection.rest() == b""
    assert listener.seen == []


async def test_a_body_that_nobody_waits_for_has_its_deadline_too(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
    assert (await connection.answer()).status == 200
    assert await connection.rest() == b""


async def test_line_breaks_before_a_request_do_not_keep_a_connection(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(GET)
    assert (await connection.answer()).status == 200
    await connection.send(b"\r\n")
    assert await connection.rest() == b""


async def test_a_slow_answer_is_not_taken_for_a_slow_request(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n" + GET[:20])
    await asyncio.sleep(PATIENCE_S * 2)  # longer than any deadline, on purpose
    listener.held.set()
    await connection.send(GET[20:])
    assert [(await connection.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 17_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 3_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 17_000 + b": b\r\n\r\n",
    ],
    ids=["path", "value", "count", "name"],
)
async def test_a_head_of_more_than_16_kib_is_431(listener: Listener, head: bytes) -> None:
    assert_refused(await listener.ask(head), 431)
    assert listener.seen == []


@pytest.mark.parametrize(
    "part", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nA", b"GET / HTTP/1.1\r\nA: "]
)
async def test_a_line_without_end_is_431_before_it_ends(listener: Listener, part: bytes) -> None:
    connection = await listener.connect()
    await connection.send(part)
    for _ in range(18):
        await connection.send(b"x" * 1024)
        await asyncio.sleep(0.005)
    assert_refused(await connection.answer(), 431)


async def test_a_trailer_without_end_is_refused(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: ")
    for _ in range(18):
        await connection.send(b"x" * 1024)
        await asyncio.sleep(0.005)
    assert_refused(await connection.answer(), 431)
    assert listener.seen == []


async def test_a_head_of_just_under_16_kib_is_taken(listener: Listener) -> None:
    head = b"GET /unread HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 16_000 + b"\r\n\r\n"
    assert (await listener.ask(head)).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /unread HTTP/1.1\r\n\r\n",
        b"GET /unread HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /unread HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        b"GET /unread HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /unread HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /unread HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
)
async def test_exactly_one_host_is_needed(listener: Listener, head: bytes) -> None:
    answer = await listener.ask(head)
    assert_refused(answer, 400)
    assert [detail["field"] for detail in answer.json()["details"]] == ["Host"]  # type: ignore[attr-defined]
    assert listener.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1, 1\r\n",
    ],
)
async def test_the_end_of_a_body_can_be_read_in_one_way_only(
    listener: Listener, headers: bytes
) -> None:
    answer = await listener.ask(POST + headers + b"\r\n1\r\nx\r\n0\r\n\r\n")
    assert_refused(answer, 400)
    assert listener.seen == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: \x00\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(11),
)
async def test_what_is_no_http_is_refused_in_the_shape_of_all_errors(
    listener: Listener, data: bytes
) -> None:
    assert_refused(await listener.ask(data), 400)
    assert listener.seen == []


async def test_a_trailer_is_not_a_header(listener: Listener) -> None:
    answer = await listener.ask(
        POST + b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
        b"1\r\nx\r\n0\r\nAuthorization: Bearer t\r\nX-API-Key: k\r\n\r\n"
    )
    assert (answer.status, answer.body) == (200, b"x")
    assert "authorization" not in listener.seen[0].headers
    assert "x-api-key" not in listener.seen[0].headers


async def test_nonsense_after_a_request_does_not_cost_its_answer(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n" + b"nonsense\r\n\r\n")
    listener.held.set()
    assert (await connection.answer()).status == 200
    assert await connection.rest() == b""


async def test_requests_sent_at_once_are_answered_in_order(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send((POST + b"Content-Length: 1\r\n\r\n1") * 3 + GET)
    answers = [await connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4


async def test_a_connection_is_kept_after_an_answer_that_came_early(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
    assert (await connection.answer()).status == 200
    await connection.send(b"abc" + GET)
    assert (await connection.answer()).status == 200


OFFERS = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: upgrade\r\n",
    b"Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: TE\r\nTE: trailers, deflate\r\n",
    b"Accept-Encoding: gzip, br;q=1.0, *;q=0\r\n",
    b"Accept: text/html, image/gif, */*; q=.2\r\n",
    b"Priority: u=0, i\r\nPrefer: respond-async\r\nRange: bytes=0-1\r\n",
    b"Keep-Alive: timeout=5\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n",
]


@pytest.mark.parametrize("offer", OFFERS, ids=range(len(OFFERS)))
async def test_what_a_client_merely_offers_does_not_change_its_request(
    listener: Listener, offer: bytes
) -> None:
    connection = await listener.connect()
    head = POST + offer
    await connection.send(head + b"Content-Length: 3\r\n\r\nabc")
    await connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET)
    await connection.send(GET[:-2] + offer + b"\r\n")
    answers = [await connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.body for answer in answers[:2]] == [b"abc"] * 2
    assert not any("upgrade" in answer.headers for answer in answers)
    assert not any(answer.headers.get("connection") == "close" for answer in answers)


async def test_an_offer_that_comes_in_pieces_is_an_offer_still(listener: Listener) -> None:
    connection = await listener.connect()
    whole = POST + OFFERS[0] + b"Content-Length: 3\r\n\r\nabc"
    for at in range(len(whole)):
        await connection.send(whole[at : at + 1])
        await asyncio.sleep(0)
    assert (await connection.answer()).body == b"abc"
    assert len(listener.seen) == 1


async def test_an_offer_hides_nothing_that_is_refused_without_it(listener: Listener) -> None:
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert_refused(await listener.ask(POST + OFFERS[0] + both), 400)
    assert_refused(await listener.ask(GET[:-2] + OFFERS[0] + b"Host: b\r\n\r\n"), 400)
    closing = GET[:-2] + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert (await listener.ask(closing)).headers["connection"] == "close"
    assert len(listener.seen) == 1


@pytest.mark.parametrize("patient", [True, False])
async def test_a_client_that_expects_100_is_told_to_go_on(
    listener: Listener, patient: bool
) -> None:
    connection = await listener.connect()
    head = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    if patient:
        await connection.send(head)
        assert (await connection.answer()).status == 100
        await connection.send(b"abc")
        answer = await connection.answer()
    else:
        await connection.send(head + b"abc")
        answer = await connection.answer()
        if answer.status == 100:
            answer = await connection.answer()
    assert (answer.status, answer.body) == (200, b"abc")


async def test_a_client_that_hangs_up_in_its_body_disturbs_nobody(listener: Listener) -> None:
    connection = await listener.connect()
    await connection.send(POST + b"Content-Length: 10\r\n\r\n12345")
    await connection.close()
    async with asyncio.timeout(10):
        while listener.in_flight.count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await listener.ask(GET)).status == 200
    assert len(listener.seen) == 1


async def test_a_problem_document_is_sent_where_the_head_asked_for_one(listener: Listener) -> None:
    head = b"GET / HTTP/1.1\r\nAccept: application/problem+json\r\n\r\n"
    answer = await listener.ask(head)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400
