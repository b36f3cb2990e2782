"""What the load says of an answer, whatever the log says later."""

import socket
import time
from random import Random

import httpx
import pytest

from chaos import clients
from chaos.clients import LONGEST_ANSWER_S, Callers, Sending
from chaos.history import Attempt, Broken
from tests.unit.chaos.planted import finds

EVENT = {"event": {"id": "a"}, "version": 7}


def read(
    answer: httpx.Response, took_s: float = 0.5, held_s: float = 0.0
) -> tuple[Attempt, list[Broken]]:
    """Reads an answer that took so long after the suite itself had held the request so long."""
    callers = Callers(list, {}, Random(0), 1.0)
    sent_at = time.monotonic() - took_s
    attempt = callers._read(answer, sent_at - held_s, sent_at)
    return attempt, callers.broken


LATER = {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (httpx.Response(200, json=EVENT), "ok"),
        (httpx.Response(202, json={"eventId": "a"}, headers=LATER), "pending"),
        (httpx.Response(503, text="we recorded nothing", headers=LATER), "not-recorded"),
        (httpx.Response(503, text="nobody knows", headers=LATER), "unknown"),
    ],
)
def test_an_answer_that_the_service_may_give_breaks_nothing(
    answer: httpx.Response, outcome: str
) -> None:
    attempt, broken = read(answer)
    assert (attempt.outcome, broken) == (outcome, [])


def test_an_answer_is_remembered_with_its_event_and_its_version() -> None:
    attempt, _ = read(httpx.Response(200, json=EVENT))
    assert (attempt.status, attempt.event_id, attempt.version) == (200, "a", 7)
    attempt, _ = read(httpx.Response(202, json={"eventId": "b"}, headers=LATER))
    assert (attempt.status, attempt.event_id, attempt.version) == (202, "b", 0)


@finds("every request is answered in time")
def test_an_answer_that_comes_too_late_is_found() -> list[Broken]:
    assert read(httpx.Response(200, json=EVENT), LONGEST_ANSWER_S - 1)[1] == []
    return read(httpx.Response(200, json=EVENT), LONGEST_ANSWER_S + 1)[1]


def test_what_the_suite_itself_held_back_is_not_called_late() -> None:
    assert read(httpx.Response(200, json=EVENT), 1.0, held_s=LONGEST_ANSWER_S)[1] == []


@pytest.mark.parametrize("connected", [True, False])
async def test_a_request_is_sent_once_it_has_a_connection(connected: bool) -> None:
    sending = Sending()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not connected:
            silent.close()
        began = time.monotonic()
        async with httpx.AsyncClient(timeout=0.2, trust_env=False) as client:
            with pytest.raises(httpx.HTTPError):
                await client.post(url, extensions={"trace": sending.trace})
    assert (sending.sent_at is not None) == connected
    assert sending.sent_at is None or began <= sending.sent_at <= time.monotonic()


@finds("202 and 503 say when to ask again")
@pytest.mark.parametrize("status", [202, 503])
def test_an_answer_that_does_not_say_when_to_ask_again_is_found(status: int) -> list[Broken]:
    return read(httpx.Response(status, json={"eventId": "a"}))[1]


@finds("a good command is not refused")
@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "refused"), (404, "refused"), (500, "unknown")]
)
def test_a_refusal_of_a_good_command_is_found(status: int, outcome: str) -> list[Broken]:
    attempt, broken = read(httpx.Response(status, text="no"))
    assert attempt.outcome == outcome
    return broken


@finds("every request is answered in time")
async def test_a_request_that_nobody_answers_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> list[Broken]:
    monkeypatch.setattr(clients, "CALL_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        callers = Callers(lambda: [url], {7: {}}, Random(0), 1.0)
        attempt = await callers.probe(7)
        await callers.stop()
    assert attempt.outcome == "unknown"
    assert [operation.attempts for operation in callers.operations] == [[attempt]]
    return callers.broken
