"""What an import file says as a whole."""

import sqlite3
from collections.abc import Sequence
from uuid import UUID

import pytest

from operations.locks.files import BadLine, LockLine, Read
from operations.locks.import_plan import ImportPlan, PlannedLock
from operations.locks.imports import Imported
from runtime.errors import ConfigurationError
from schemas.primitives import default_lock_uuid

A, B = UUID(int=10), UUID(int=11)


def judged(lines: Sequence[Read]) -> tuple[dict[int, int], dict[int, str]]:
    """How many lines each lock has, and what is wrong with the others."""
    with ImportPlan.open() as plan:
        plan.take(lines)
        plan.judge()
        locks = {lock.line.id: lock.lines for chunk in plan.locks(2) for lock in chunk}
        bad = {line.number: line.problem for line in plan.bad_lines()}
        assert sum(locks.values()) + len(bad) == len(lines)
        assert (plan.lock_count, plan.bad_count) == (len(locks), len(bad))
    return locks, bad


@pytest.mark.parametrize("distance", [0, 1, 5_000])
def test_one_lock_for_two_organisations_is_for_neither_however_far_apart(distance: int) -> None:
    between = [(n + 3, LockLine(n + 100, "acme")) for n in range(distance)]
    last = distance + 3
    locks, bad = judged([(2, LockLine(7, "acme")), *between, (last, LockLine(7, "other"))])
    assert locks == {n + 100: 1 for n in range(distance)}
    assert list(bad) == [2, last]
    assert f"line {last}" in bad[2]
    assert "acme" in bad[2]
    assert "line 2" in bad[last]


def test_a_lock_on_the_very_first_line_is_one_of_them() -> None:
    assert judged([(1, LockLine(7, "acme")), (2, LockLine(8, "acme"))]) == ({7: 1, 8: 1}, {})


def test_one_lock_with_two_uuids_and_one_uuid_on_two_locks_are_bad_lines() -> None:
    lines: list[Read] = [
        (2, LockLine(1, "acme", A)),
        (3, LockLine(1, "acme", B)),
        (4, LockLine(2, "acme", UUID(int=12))),
        (5, LockLine(3, "acme", UUID(int=12))),
        (6, LockLine(4, "acme")),
        (7, LockLine(4, "acme", UUID(int=13))),
        (8, LockLine(5, "acme", default_lock_uuid(6))),
        (9, LockLine(6, "acme")),
        (10, LockLine(7, "acme")),
    ]
    locks, bad = judged(lines)
    assert locks == {7: 1}
    others = {2: 3, 3: 2, 4: 5, 5: 4, 6: 7, 7: 6, 8: 9, 9: 8}
    assert bad.keys() == others.keys()
    assert all(f"line {other} " in bad[number] for number, other in others.items())


def test_a_line_that_repeats_another_counts_and_contradicts_nothing() -> None:
    lines: list[Read] = [
        (2, LockLine(7, "acme")),
        (3, LockLine(7, "acme", default_lock_uuid(7))),
        BadLine(4, "is not JSON"),
        (5, LockLine(7, "acme")),
    ]
    assert judged(lines) == ({7: 3}, {4: "is not JSON"})


def test_each_line_of_a_large_contradiction_names_one_that_says_otherwise() -> None:
    lines = [(n, LockLine(7, "acme" if n < 9 else "other")) for n in range(2, 12)]
    _, bad = judged(lines)
    assert all(f"line {9 if number < 9 else 2} " in text for number, text in bad.items())


def test_lines_that_repeat_a_lock_count_as_found_there_whether_or_not_it_is_new() -> None:
    once, thrice = PlannedLock(2, LockLine(7, "acme"), 1), PlannedLock(3, LockLine(8, "acme"), 3)
    imported = Imported()
    for lock, existed, counts in (
        (once, False, (1, 0)),
        (thrice, False, (2, 2)),
        (once, True, (2, 3)),
        (thrice, True, (2, 6)),
    ):
        imported.count(lock, existed)
        assert (imported.created, imported.existing, imported.bad) == (*counts, 0)


def told(lines: Sequence[Read]) -> dict[int, str]:
    return judged(lines)[1]


def test_contradictions_are_told_in_the_words_of_the_lines() -> None:
    assert told([(2, LockLine(7, "acme")), (5, LockLine(7, "other"))]) == {
        2: "gives lock 7 to acme, and line 5 gives it to other",
        5: "gives lock 7 to other, and line 2 gives it to acme",
    }
    assert told([(2, LockLine(7, "acme", A)), (5, LockLine(7, "acme"))]) == {
        2: f"gives lock 7 the uuid {A}, and line 5 gives it no uuid",
        5: f"gives lock 7 no uuid, and line 2 gives it the uuid {A}",
    }
    assert told([(2, LockLine(7, "acme", A)), (5, LockLine(8, "acme", A))]) == {
        2: f"gives lock 7 the uuid {A}, and line 5 gives it to lock 8",
        5: f"gives lock 8 the uuid {A}, and line 2 gives it to lock 7",
    }


def test_a_planned_lock_is_what_its_first_line_says() -> None:
    lines: list[Read] = [
        (9, LockLine(3, "acme")),
        (2, LockLine(1, "acme", A)),
        (4, LockLine(2, "acme")),
        (6, LockLine(2, "acme", default_lock_uuid(2))),
        BadLine(7, "is not JSON"),
    ]
    with ImportPlan.open() as plan:
        plan.take(lines)
        plan.judge()
        chunks = list(plan.locks(2))
        assert chunks == [
            [
                PlannedLock(2, LockLine(1, "acme", A), 1),
                PlannedLock(4, LockLine(2, "acme", default_lock_uuid(2)), 2),
            ],
            [PlannedLock(9, LockLine(3, "acme"), 1)],
        ]
        assert [lock.uuid for lock in chunks[0]] == [A, default_lock_uuid(2)]
        assert chunks[1][0].uuid == default_lock_uuid(3)
        plan.refuse_lock(chunks[0][1], "first")
        plan.refuse([6, 2], "second")
        assert list(plan.bad_lines()) == [
            BadLine(2, "second"),
            BadLine(4, "first"),
            BadLine(6, "first"),
            BadLine(7, "is not JSON"),
        ]
        assert (plan.lock_count, plan.bad_count) == (3, 4)


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 4000])
def test_no_line_is_lost_between_two_portions(count: int) -> None:
    with ImportPlan.open() as plan:
        plan.take((n, LockLine(n, "acme")) for n in range(1, count + 1))
        plan.judge()
        assert plan.lock_count == count


def test_a_plan_that_finds_no_room_says_where_more_may_be() -> None:
    with pytest.raises(ConfigurationError) as refused, ImportPlan.open() as plan:
        plan._database.execute("no SQL")
    assert str(refused.value) == (
        'the lines can\'t be kept in a temporary file: near "no": syntax error; TMPDIR may name a '
        "folder with more space"
    )
    with pytest.raises(sqlite3.ProgrammingError):
        plan.lock_count  # noqa: B018 - it is closed


def test_a_plan_keeps_its_lines_in_a_file_and_not_in_memory() -> None:
    with ImportPlan.open() as plan:
        for pragma, value in (("temp_store", 1), ("cache_size", -8192), ("synchronous", 0)):
            assert plan._database.execute(f"PRAGMA {pragma}").fetchone() == (value,)
        assert plan._database.execute("PRAGMA journal_mode").fetchone() == ("off",)
        assert plan._database.execute("PRAGMA database_list").fetchone()[2] == ""
