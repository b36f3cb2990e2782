"""The judge of the fault suite can find what it looks for: each broken promise, planted."""

import msgspec
import pytest

from chaos.history import (
    Attempt,
    Broken,
    Logged,
    Operation,
    Outcome,
    Seen,
    check_history,
    check_order,
    check_seen,
)
from tests.unit.chaos.planted import finds


def attempt(started_at: float, outcome: Outcome, event_id: str = "", version: int = 0) -> Attempt:
    return Attempt(started_at, started_at + 1.0, outcome, 200, event_id, version)


def answered(
    started_at: float, version: int, event_id: str, lock_id: int = 1, key: str | None = None
) -> Operation:
    """A command that was answered a second after it began."""
    temp_key = f"temp-{event_id}"
    return Operation(lock_id, temp_key, key, [attempt(started_at, "ok", event_id, version)])


def event_of(operation: Operation) -> Logged:
    answer = operation.answers[0]
    return Logged(0, 0, answer.event_id, operation.lock_id, answer.version, operation.temp_key)


def promises(operations: list[Operation], log: list[Logged]) -> list[str]:
    return [broken.promise for broken in check_history(operations, log)]


FIRST, SECOND = answered(0.0, 2, "a"), answered(2.0, 3, "b")
LOG = [event_of(FIRST), event_of(SECOND)]


def test_a_sound_history_breaks_nothing() -> None:
    assert promises([FIRST, SECOND], LOG) == []


@finds("what was answered is in the log")
def test_an_answer_whose_event_is_absent_is_found() -> list[Broken]:
    return check_history([FIRST, SECOND], LOG[:1])


@finds("what was answered is in the log")
def test_an_answer_with_another_version_than_the_log_is_found() -> list[Broken]:
    return check_history([FIRST, SECOND], [LOG[0], msgspec.structs.replace(LOG[1], version=4)])


@finds("what was answered is in the log")
def test_an_answer_with_another_event_than_the_log_is_found() -> list[Broken]:
    log = [LOG[0], msgspec.structs.replace(LOG[1], event_id="z")]
    return check_history([FIRST, SECOND], log)


@pytest.mark.parametrize("outcome", ["refused", "not-recorded"])
@finds("what was refused is not recorded")
def test_an_event_of_a_refused_command_is_found(outcome: Outcome) -> list[Broken]:
    refused = Operation(1, "temp-c", None, [attempt(5.0, outcome)])
    return check_history([FIRST, SECOND, refused], [*LOG, Logged(0, 9, "c", 1, 4, "temp-c")])


def test_an_event_of_a_command_without_an_answer_breaks_nothing() -> None:
    unknown = Operation(1, "temp-c", None, [attempt(5.0, "not-recorded"), attempt(6.0, "unknown")])
    log = [*LOG, Logged(0, 9, "c", 1, 4, "temp-c")]
    assert promises([FIRST, SECOND, unknown], log) == []


@finds("what was accepted (202) becomes an event")
def test_an_accepted_command_that_becomes_no_event_is_found() -> list[Broken]:
    pending = Operation(1, "temp-c", None, [attempt(5.0, "pending", "c")])
    return check_history([pending], [])


@finds("one key, one answer", "what was answered is in the log")
def test_two_answers_that_disagree_for_one_key_are_found() -> list[Broken]:
    torn = Operation(1, "temp-a", "k", [attempt(0.0, "ok", "a", 2), attempt(2.0, "ok", "z", 5)])
    return check_history([torn], [Logged(0, 0, "a", 1, 2, "temp-a")])


@finds("recorded at most once")
def test_a_command_that_is_recorded_twice_is_found() -> list[Broken]:
    return check_history([FIRST], [LOG[0], Logged(0, 7, "other", 1, 9, FIRST.temp_key)])


@finds("no event from nowhere")
def test_an_event_that_nobody_asked_for_is_found() -> list[Broken]:
    return check_history([FIRST, SECOND], [*LOG, Logged(0, 9, "x", 1, 4, "forged")])


@finds("versions follow real time")
def test_a_version_that_contradicts_real_time_is_found() -> list[Broken]:
    late = answered(2.0, 1, "b")  # begun after version 2 had been answered
    return check_history([FIRST, late], [event_of(FIRST), event_of(late)])


def test_versions_of_commands_that_overlap_may_come_in_any_order() -> None:
    overlapping = answered(0.5, 1, "b")  # begun before version 2 was answered, at 1.0
    assert promises([FIRST, overlapping], [event_of(FIRST), event_of(overlapping)]) == []


def test_a_repeat_may_get_the_version_of_its_first_attempt() -> None:
    repeated = Operation(1, "temp-b", "k", [attempt(0.0, "unknown"), attempt(9.0, "ok", "b", 2)])
    between = answered(5.0, 3, "c")
    log = [event_of(repeated), event_of(between)]
    assert promises([repeated, between], log) == []


SEEN = [Seen("lock-events", 0, 4, 111), Seen("lock-events", 0, 5, 222)]
KEPT = {("lock-events", 0, 4): 111, ("lock-events", 0, 5): 222}


def test_records_that_stand_where_they_were_seen_break_nothing() -> None:
    assert check_seen(SEEN, KEPT) == []
    assert check_order([]) == []


@finds("what was read stays")
def test_a_record_that_a_reader_saw_and_that_is_gone_is_found() -> list[Broken]:
    return check_seen(SEEN, {("lock-events", 0, 4): 111})


@finds("what was read stays")
def test_a_record_that_a_reader_saw_and_that_has_changed_is_found() -> list[Broken]:
    return check_seen(SEEN, {**KEPT, ("lock-events", 0, 5): 333})


def test_each_broken_promise_says_what_when_and_where() -> None:
    refused = Operation(3, "temp-c", None, [attempt(5.0, "refused")])
    pending = Operation(3, "temp-d", None, [attempt(6.0, "pending", "d")])
    torn = Operation(3, "temp-e", "k", [attempt(7.0, "ok", "e", 2), attempt(9.0, "ok", "z", 5)])
    twice = [Logged(0, n, f"f{n}", 4, n, "temp-f") for n in (1, 2)]
    known = Operation(4, "temp-f", None, [attempt(8.0, "unknown")])
    log = [Logged(0, 9, "c", 3, 4, "temp-c"), Logged(0, 0, "e", 3, 2, "temp-e"), *twice]
    log += [Logged(0, 5, "x", 1, 4, "forged"), Logged(0, 6, "created", 1, 1, None)]
    assert check_history([refused, pending, torn, known], log) == [
        Broken("what was refused is not recorded", "lock 3, temp key temp-c: event c", 5.0),
        Broken(
            "what was accepted (202) becomes an event",
            "lock 3, temp key temp-d: there is none",
            6.0,
        ),
        Broken("one key, one answer", "lock 3, temp key temp-e: [('e', 2), ('z', 5)]", 7.0),
        Broken(
            "what was answered is in the log",
            "lock 3, temp key temp-e: answered z version 5, the log has [('e', 2)]",
            7.0,
        ),
        Broken("recorded at most once", "lock 4, temp key temp-f: 2 events", 8.0),
        Broken("no event from nowhere", "x (temp key forged)"),
    ]


def test_refused_and_not_recorded_together_are_still_no_reason_for_an_event() -> None:
    both = Operation(1, "temp-c", None, [attempt(5.0, "refused"), attempt(6.0, "not-recorded")])
    found = promises([both], [Logged(0, 9, "c", 1, 4, "temp-c")])
    assert found == ["what was refused is not recorded"]
    assert promises([both], []) == []


def test_real_time_is_judged_for_each_lock_by_the_first_answer_and_the_highest_version() -> None:
    one, two, other = answered(0.0, 5, "a"), answered(1.5, 9, "b"), answered(8.0, 1, "o", lock_id=2)
    late = answered(8.0, 9, "c")
    silent = Operation(1, "temp-s", None, [attempt(3.0, "unknown")])
    log = [event_of(o) for o in (one, two, other, late)]
    (found,) = check_history([late, other, silent, two, one], log)
    assert found == Broken(
        "versions follow real time",
        "lock 1: version 9 was given to a command that began after version 9 had been answered",
        8.0,
    )


def test_a_command_that_begins_as_another_ends_may_overlap_it() -> None:
    at_once = answered(1.0, 1, "b")  # version 2 was answered at 1.0
    assert promises([FIRST, at_once], [event_of(FIRST), event_of(at_once)]) == []


def test_after_an_answer_a_repeat_of_it_does_not_begin_again() -> None:
    repeated = Operation(1, "temp-a", "k", [attempt(4.0, "ok", "a", 2), attempt(0.0, "unknown")])
    between = answered(2.5, 3, "b")
    assert repeated.started_at == 0.0
    log = [Logged(0, 0, "a", 1, 2, "temp-a"), event_of(between)]
    assert promises([repeated, between], log) == []
    early = Operation(1, "temp-a", "k", [attempt(0.0, "ok", "a", 9), attempt(20.0, "ok", "a", 9)])
    log = [Logged(0, 0, "a", 1, 9, "temp-a"), event_of(between)]
    assert promises([early, between], log) == ["versions follow real time"]


def test_what_a_reader_saw_is_named_with_its_place_and_what_became_of_it() -> None:
    seen = [Seen("lock-events", 2, 4, 111), Seen("lock-events", 2, 5, 222)]
    assert check_seen(seen, {("lock-events", 2, 5): 333}) == [
        Broken("what was read stays", "lock-events[2] offset 4 is gone"),
        Broken("what was read stays", "lock-events[2] offset 5 has changed"),
    ]
