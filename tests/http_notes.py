"""What httplint has to say about an answer."""

import time
from collections.abc import Iterable
from http.client import HTTPResponse

import httpx
import msgspec
from httplint import HttpRequestLinter, HttpResponseLinter, Note, levels

Headers = list[tuple[bytes, bytes]]
PASSED_OVER = {
    "REQUEST_HDR_IN_RESPONSE": "Accept says what a 415 would have taken (RFC 9110, 12.5.1)",
    "LOCATION_UNDEFINED": "it is the pointer that a 202 ought to have (RFC 9110, 15.3.3)",
    "STATUS_BAD_REQUEST": "warns of every 400",
    "STATUS_412_WITHOUT_PRECONDITION": "minVersion is one, in the query",
}
"""Notes that are wrong here or say nothing, each with the reason."""


class Exchange(msgspec.Struct, frozen=True):
    """``at``: when the answer came, in seconds since 1970."""

    method: str
    url: str
    request_headers: Headers
    status: int
    phrase: str
    headers: Headers
    body: bytes
    at: float


def exchange_of(response: httpx.Response) -> Exchange:
    """Of an answer that came just now."""
    request = response.request
    return Exchange(
        request.method,
        str(request.url),
        request.headers.raw,
        response.status_code,
        response.reason_phrase,
        response.headers.raw,
        response.content,
        time.time(),
    )


def plain_exchange(method: str, url: str, response: HTTPResponse) -> Exchange:
    headers = [(name.encode(), value.encode()) for name, value in response.getheaders()]
    body = response.read()
    return Exchange(method, url, [], response.status, response.reason, headers, body, time.time())


def complaints(exchange: Exchange) -> list[Note]:
    """The notes that are bad or a warning."""
    request = HttpRequestLinter()
    request.process_request_topline(exchange.method.encode(), exchange.url.encode(), b"1.1")
    request.process_headers(exchange.request_headers)
    request.finish_content(True)
    answer = HttpResponseLinter(
        start_time=exchange.at, _related=request, no_content=exchange.method == "HEAD"
    )
    status, phrase = str(exchange.status).encode(), exchange.phrase.encode()
    answer.process_response_topline(b"1.1", status, phrase)
    answer.process_headers(exchange.headers)
    answer.feed_content(exchange.body)
    answer.finish_content(True)
    return [note for note in answer.notes if note.level in (levels.BAD, levels.WARN)]


def names_of(notes: Iterable[Note]) -> set[str]:
    return {type(note).__name__ for note in notes}
