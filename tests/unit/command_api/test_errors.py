import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from command_api.errors import (
    API_KEY_WANTED,
    STATUS_OF,
    TOKEN_INVALID,
    TOKEN_MISSING,
    BadField,
    ErrorContext,
    Forbidden,
    HeadTooLarge,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    NotReceivedInTime,
    RateLimited,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
    VersionNotReached,
    error_response,
    status_of,
    wants_problem,
)
from command_api.routes import Routes
from runtime.errors import (
    CommandRefused,
    IssuerUnavailable,
    KafkaRefused,
    KafkaUnavailable,
    OutcomeUnknown,
    ReadModelUnavailable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest((BadField("id", "bad"),)), 400),
        (Unauthenticated("no", challenge=TOKEN_MISSING), 401),
        (Forbidden("no"), 403),
        (NotFound(), 404),
        (TooLarge("no"), 413),
        (UnsupportedMediaType("no"), 415),
        (IdempotencyKeyReused(), 422),
        (NotReceivedInTime(), 408),
        (VersionNotReached(7, 1, 2), 412),
        (RateLimited({"Retry-After": "1"}), 429),
        (HeadTooLarge("no"), 431),
        (KafkaUnavailable("away"), 503),
        (ReadModelUnavailable("away"), 503),
        (OutcomeUnknown("away"), 503),
        (KafkaRefused("no"), 503),
        (RuntimeError("secret"), 500),
    ],
)
def test_every_error_has_the_seeds_shape(error: Exception, status: int) -> None:
    response = error_response(ErrorContext("*/*"), error)
    body = json.loads(bytes(response.body))
    assert response.status_code == body["code"] == status
    assert set(body) <= {"error", "message", "code", "details"}
    assert body["message"]


def test_every_refusal_is_in_the_table() -> None:
    def leaves(kind: type[Exception]) -> list[type[Exception]]:
        found = kind.__subclasses__()
        return [leaf for child in found for leaf in leaves(child)] if found else [kind]

    assert all(leaf in STATUS_OF for leaf in leaves(CommandRefused))
    assert all(status_of(leaf.__new__(leaf)) < 500 for leaf in leaves(CommandRefused))


async def test_a_method_or_a_path_that_is_not_there_is_told_in_the_same_shape() -> None:
    async def show(request: Request) -> Response:
        return Response()

    transport = httpx.ASGITransport(Routes([Route("/locks", show, methods=["GET"])]))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        refused, nowhere = await client.post("/locks"), await client.get("/lock")
    assert (refused.status_code, refused.json()["code"]) == (405, 405)
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert (nowhere.status_code, nowhere.json()) == (
        404,
        {"error": "Not Found", "message": "The requested resource was not found", "code": 404},
    )


def test_a_problem_document_is_sent_to_those_that_ask_for_it() -> None:
    error = InvalidRequest((BadField("id", "bad"),))
    response = error_response(ErrorContext("application/problem+json"), error)
    assert response.media_type == "application/problem+json"
    body = json.loads(bytes(response.body))
    assert (body["status"], body["title"]) == (400, "Bad Request")
    assert body["details"] == [{"field": "id", "message": "bad"}]
    assert response.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("accept", "problem"),
    [
        ("application/problem+json", True),
        ("Application/Problem+JSON; q=0.5, text/html", True),
        ("application/json, application/problem+json", True),
        ("application/json;q=0.9, application/problem+json;q=0.8", False),
        ("application/problem+json;q=0", False),
        ("application/problem+json;q=nonsense", False),
        ("application/problem+jsonp", False),
        ("*/*", False),
        ("application/*", False),
        ("", False),
        (",;,=;q", False),
    ],
)
def test_a_problem_document_is_only_for_those_that_ask(accept: str, problem: bool) -> None:
    assert wants_problem(accept) is problem


@pytest.mark.parametrize("challenge", [TOKEN_MISSING, TOKEN_INVALID, API_KEY_WANTED])
def test_a_401_says_what_was_wrong(challenge: str) -> None:
    refused = error_response(ErrorContext(), Unauthenticated("no", challenge=challenge))
    assert refused.headers["www-authenticate"] == challenge
    assert ("invalid_token" in challenge) == (challenge == TOKEN_INVALID)


def test_a_403_names_the_scope() -> None:
    scope = error_response(ErrorContext(), Forbidden("no", missing_scope="locks:use-temp-key"))
    assert 'error="insufficient_scope"' in scope.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (VersionNotReached(7, 3, 9), {"etag": '"3"'}),
        (UnsupportedMediaType("no"), {"accept": "application/json"}),
        (RateLimited({"Retry-After": "7", "RateLimit": "x"}), {"retry-after": "7"}),
        (NotReceivedInTime(), {"connection": "close"}),
        (TooLarge("no"), {"connection": "close"}),
        (HeadTooLarge("no"), {"connection": "close"}),
        (KafkaUnavailable("away"), {"retry-after": "1"}),
        (ReadModelUnavailable("away"), {"retry-after": "1"}),
        (IssuerUnavailable("away"), {"retry-after": "1"}),
        (OutcomeUnknown("away"), {"retry-after": "1"}),
    ],
)
def test_a_refusal_says_in_its_headers_how_to_go_on(
    error: Exception, headers: dict[str, str]
) -> None:
    sent = error_response(ErrorContext(), error).headers
    assert {name: sent.get(name) for name in headers} == headers


def test_what_kafka_refuses_is_told_as_what_lasts_and_has_recorded_nothing() -> None:
    refused = error_response(ErrorContext(), KafkaRefused("user api may not write to lock-facts"))
    body = json.loads(bytes(refused.body))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert "recorded nothing, and none will until an operator has mended it" in body["message"]
    assert "lock-facts" not in body["message"]


def test_our_own_mistakes_and_faults_leak_nothing() -> None:
    for error in (RuntimeError("/etc/secret"), KafkaUnavailable("10.0.0.7 refused")):
        body = bytes(error_response(ErrorContext(), error).body)
        assert b"secret" not in body
        assert b"10.0.0.7" not in body


def test_a_caller_learns_whether_a_refused_command_may_be_recorded() -> None:
    unknown = json.loads(bytes(error_response(ErrorContext(), OutcomeUnknown("x")).body))["message"]
    refused = json.loads(bytes(error_response(ErrorContext(), KafkaUnavailable("x")).body))[
        "message"
    ]
    assert "may have been recorded" in unknown
    assert "recorded nothing" in refused
    assert error_response(ErrorContext(), OutcomeUnknown("x")).headers["retry-after"]


def test_a_reader_is_not_told_about_recording() -> None:
    for error in (OutcomeUnknown("x"), ReadModelUnavailable("x")):
        refused = error_response(ErrorContext(reads=True), error)
        message = json.loads(bytes(refused.body))["message"]
        assert message == "The service can't tell this now. Try again after Retry-After"
        assert refused.headers["retry-after"]


def test_without_a_key_nobody_is_told_to_repeat_with_it() -> None:
    refused = error_response(ErrorContext(has_key=False), OutcomeUnknown("x"))
    message = json.loads(bytes(refused.body))["message"]
    assert "may have been recorded" in message
    assert "may record it twice" in message


@given(st.text(max_size=80) | st.text("application/problem+json;q=0.1, *", max_size=80))
def test_any_accept_is_a_wish_or_none(accept: str) -> None:
    assert wants_problem(accept) <= ("application/problem+json" in accept.lower())


THOUSANDTHS = st.integers(0, 1000)


@given(THOUSANDTHS, THOUSANDTHS, st.booleans())
def test_the_weights_of_an_accept_decide(problem: int, plain: int, turned: bool) -> None:
    ranges = [
        f"application/problem+json;q={problem / 1000:.3f}",
        f"application/json; q={plain / 1000:.3f}",
    ]
    accept = ", ".join(reversed(ranges) if turned else ranges)
    assert wants_problem(accept) is (problem > 0 and problem >= plain)
