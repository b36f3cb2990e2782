"""What a transaction that runs in a thread of its own promises to those who wait for it, or no
longer do. SQLite, unless it says otherwise."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, event, inspect, text

from read_model.database import Database, read_model_url
from read_model.sqlite import READING_THREADS
from read_model.store import ReadModel
from runtime.errors import ReadModelUnavailable, StreamViolation
from runtime.settings import Settings
from schemas.topics import LockTopics
from tests.integration.kafka_tools import eventually

LONG_S = 30.0
SHORT_S = 0.3


def open_database(folder: Path, timeout_s: float) -> Database:
    return Database(read_model_url(Settings(state_dir=folder)), timeout_s)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(tmp_path, LONG_S)
    await opened.write(lambda c: c.exec_driver_sql("CREATE TABLE said (word TEXT)"))
    yield opened
    await opened.close()


def say(connection: Connection, word: str) -> None:
    connection.execute(text("INSERT INTO said VALUES (:word)"), {"word": word})


def said(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT word FROM said ORDER BY rowid")))


class Held:
    """Work that begins, and ends when it is let go."""

    def __init__(self, word: str = "") -> None:
        self.has_begun = threading.Event()
        self._let_go = threading.Event()
        self._word = word

    def __call__(self, connection: Connection) -> None:
        self.has_begun.set()
        assert self._let_go.wait(LONG_S)
        if self._word:
            say(connection, self._word)

    def let_go(self) -> None:
        self._let_go.set()

    async def until_begun(self) -> None:
        async def begun() -> bool:
            return self.has_begun.is_set()

        await eventually(begun)


async def test_a_write_that_nobody_waits_for_any_more_ends_before_the_next_begins(
    database: Database,
) -> None:
    first, never, last = Held("first"), Held("never"), Held("last")
    last.let_go()
    writing = asyncio.create_task(database.write(first))
    await first.until_begun()
    not_begun = asyncio.create_task(database.write(never))
    await asyncio.sleep(0)
    for abandoned in (writing, not_begun):
        abandoned.cancel()
    await asyncio.wait((writing, not_begun))
    assert writing.cancelled()
    assert not_begun.cancelled()
    next_writing = asyncio.create_task(database.write(last))
    assert await database.read(said) == []
    assert not last.has_begun.is_set()
    first.let_go()
    await next_writing
    assert await database.read(said) == ["first", "last"]
    assert not never.has_begun.is_set()


async def test_readings_that_take_too_long_are_given_up_and_lose_no_connection(
    tmp_path: Path,
) -> None:
    database = open_database(tmp_path, SHORT_S)
    for _ in range(2):
        held = [Held() for _ in range(READING_THREADS)]
        answers = await asyncio.gather(
            *(database.read(work) for work in held), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [ReadModelUnavailable] * READING_THREADS
        # All threads are taken: this one never begins.
        with pytest.raises(ReadModelUnavailable):
            await database.read(said)
        for work in held:
            work.let_go()
    await database.write(lambda c: c.exec_driver_sql("CREATE TABLE said (word TEXT)"))
    assert await database.read(said) == []
    await database.close()


async def test_a_lock_that_another_process_keeps_makes_it_unavailable_and_holds_up_no_close(
    database: Database, tmp_path: Path
) -> None:
    impatient = open_database(tmp_path, SHORT_S)
    paused = sqlite3.connect(tmp_path / "read_model.db", isolation_level=None)
    paused.execute("BEGIN IMMEDIATE")
    with pytest.raises(ReadModelUnavailable, match="locked"):
        await impatient.write(lambda c: say(c, "late"))
    assert await impatient.read(said) == []
    waiting = asyncio.create_task(impatient.write(lambda c: say(c, "late")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    async with asyncio.timeout(LONG_S):
        await impatient.close()
    paused.execute("ROLLBACK")
    paused.close()
    assert await database.read(said) == []


async def test_closing_waits_for_the_write_that_is_under_way(database: Database) -> None:
    held = Held("written")
    writing = asyncio.create_task(database.write(held))
    await held.until_begun()
    writing.cancel()
    closing = asyncio.create_task(database.close())
    done, _ = await asyncio.wait((writing, closing), timeout=SHORT_S)
    assert done == {writing}
    held.let_go()
    await closing
    assert await database.read(said) == ["written"]


async def test_an_error_rolls_back_and_keeps_its_type(read_model: ReadModel) -> None:
    """On both databases."""
    database = read_model._database

    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM positions")
        raise StreamViolation("not this")

    before = await read_model.positions("lock-events")
    with pytest.raises(StreamViolation, match=r"^not this$"):
        await database.write(fail)
    assert await read_model.positions("lock-events") == before


async def test_a_refused_row_is_a_violation_and_a_broken_statement_is_not(
    read_model: ReadModel,
) -> None:
    """On both databases."""
    database = read_model._database
    again = "INSERT INTO positions SELECT * FROM positions"
    with pytest.raises(StreamViolation, match="refuses a row"):
        await database.write(lambda c: c.exec_driver_sql(again))
    with pytest.raises(ReadModelUnavailable):
        await database.read(lambda c: c.exec_driver_sql("SELECT * FROM nowhere"))


async def test_a_database_of_before_gets_the_indexes_of_today(read_model: ReadModel) -> None:
    """On both databases."""
    database = read_model._database

    def names(connection: Connection) -> set[str | None]:
        return {index["name"] for index in inspect(connection).get_indexes("locks")}

    await database.write(lambda c: c.exec_driver_sql("DROP INDEX locks_by_uuid"))
    assert await database.read(names) == set()
    await read_model.prepare()
    assert await database.read(names) == {"locks_by_uuid"}
    await read_model.prepare()


async def test_no_question_scans_a_table(tmp_path: Path) -> None:
    """What is asked for costs the same however full the model is."""
    database = open_database(tmp_path, LONG_S)
    model = ReadModel(database, LockTopics("", 3))
    await model.prepare()
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(connection: Connection) -> None:
        def noted(*arguments: Any) -> None:
            asked.append(arguments[2:4])

        event.listen(connection.engine, "before_cursor_execute", noted)

    await database.read(note)
    some_id = uuid4()
    await model.known(0, [1, 2], [(1, "a"), (2, "b")], [some_id], [some_id])
    await model.uuid_owners([some_id])
    await model.event_values([(1, 1), (2, 1)])
    await model.known_lock_ids([1, 2])
    await model.events_of(1, 0, "acme", 0, 10)
    await model.event(some_id)
    await model.parked_fact(some_id)
    await database.close()
    with closing(sqlite3.connect(tmp_path / "read_model.db")) as connection:
        plans = {
            sql: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in asked
            if sql.startswith("SELECT")
        }
    assert len(plans) >= 8
    for sql, steps in plans.items():
        scans = [step for step in steps if "SCAN" in step and "VIRTUAL TABLE" not in step]
        assert not scans, (sql, steps)


ANOTHER = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as connection:
    print(connection.execute("SELECT count(*) FROM positions").fetchone()[0])
"""


async def test_a_second_look_at_a_file_lets_no_other_process_take_its_journal_away(
    tmp_path: Path,
) -> None:
    """Whoever closes a file as the last one deletes its journal."""
    one, two = (
        ReadModel(open_database(tmp_path, LONG_S), LockTopics("", partitions))
        for partitions in (3, 5)
    )

    async def rows_as_another_process_sees_them() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ANOTHER, str(tmp_path / "read_model.db")),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        return int(told)

    await one.prepare()
    assert await rows_as_another_process_sees_them() == 2 * 3
    await two.prepare()
    await two.require()
    assert await rows_as_another_process_sees_them() == 2 * 5
    await one.reset()
    word = text("INSERT INTO positions VALUES ('another', 0, 0, 0, 0)")
    await one._database.write(lambda connection: connection.execute(word))
    seen = await rows_as_another_process_sees_them()
    await one.close()
    await two.close()
    assert seen == 2 * 5 + 1
