"""Judges an import file as a whole, before any of it is recorded. Finds the lines that contradict
others. All lines are kept in a temporary SQLite file, so that memory does not grow with the
file."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import msgspec

from operations.locks.files import BadLine, LockLine, Read
from runtime.errors import ConfigurationError
from schemas.primitives import default_lock_uuid

_ROWS = 2_000
_CACHE_KIB = 8_192
_SCHEMA = """
CREATE TABLE lines (number INTEGER PRIMARY KEY, id INTEGER, org TEXT, uuid BLOB, given INTEGER);
CREATE TABLE bad (number INTEGER PRIMARY KEY, problem TEXT);
CREATE TABLE locks (
    number INTEGER PRIMARY KEY, id INTEGER, org TEXT, uuid BLOB, given INTEGER, lines INTEGER
);
"""


class PlannedLock(msgspec.Struct, frozen=True):
    """A lock, as its first line says it. ``lines``: how many lines of the file say the same."""

    number: int
    line: LockLine
    lines: int

    @property
    def uuid(self) -> UUID:
        """The aggregate id that the lock gets if it is new."""
        return self.line.uuid or default_lock_uuid(self.line.id)


class ImportPlan:
    """Takes the lines of a file; after ``judge``, gives the locks and the bad lines."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["ImportPlan"]:
        """Opens a plan, whose temporary file goes with it.

        Raises:
            ConfigurationError: there is no room for temporary files.
        """
        # A file without a name: gone with the connection, however the process ends.
        database = sqlite3.connect("")
        try:
            database.executescript(
                f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = FILE;"
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}"
            )
            yield cls(database)
        except sqlite3.OperationalError as error:
            raise ConfigurationError(
                f"the lines can't be kept in a temporary file: {error}; TMPDIR may name a folder "
                "with more space"
            ) from error
        finally:
            database.close()

    def take(self, read: Iterable[Read]) -> None:
        """Takes the lines in, bad ones included."""
        rows: list[tuple[int, int, str, bytes, bool]] = []
        for line in read:
            if isinstance(line, BadLine):
                self.refuse([line.number], line.problem)
                continue
            number, said = line
            uuid = said.uuid or default_lock_uuid(said.id)
            rows.append((number, said.id, said.org, uuid.bytes, said.uuid is not None))
            if len(rows) == _ROWS:
                self._add(rows)
                rows = []
        self._add(rows)

    def _add(self, rows: Sequence[tuple[int, int, str, bytes, bool]]) -> None:
        self._database.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?)", rows)

    def judge(self) -> None:
        """Refuses all lines that contradict each other, since which of them is right can't be
        known. Makes one lock for each id of the others."""
        self._database.executescript(
            "CREATE INDEX lines_by_id ON lines (id); CREATE INDEX lines_by_uuid ON lines (uuid);"
        )
        self._refuse_contradictions("id", ("org", "uuid"))
        self._refuse_contradictions("uuid", ("id",))
        self._database.execute(
            "INSERT INTO locks SELECT min(number), id, org, uuid, max(given), count(*) FROM lines "
            "WHERE number NOT IN (SELECT number FROM bad) GROUP BY id"
        )

    def _refuse_contradictions(self, same: str, others: Sequence[str]) -> None:
        differs = " OR ".join(f"min({name}) <> max({name})" for name in others)
        groups = self._database.execute(
            f"SELECT {same} FROM lines GROUP BY {same} HAVING {differs}"
        )
        for (value,) in groups:
            self._refuse_group(same, others, value)

    def _refuse_group(self, same: str, others: Sequence[str], value: object) -> None:
        """Refuses the lines of a group; names in each the first line that contradicts it."""
        question = (
            f"SELECT number, id, org, uuid, given FROM lines WHERE {same} = ? ORDER BY number"
        )
        first = None
        second = None
        for row in self._database.execute(question, (value,)):
            said = _said(row)
            if first is None:
                first = said
            elif second is None and _differs(first, said, others):
                second = said
                break
        assert first is not None
        assert second is not None
        for row in self._database.execute(question, (value,)):
            said = _said(row)
            other = first if _differs(first, said, others) else second
            self.refuse([said.number], _contradiction(said, other, same))

    def refuse(self, numbers: Iterable[int], problem: str) -> None:
        """Refuses lines; a line that was refused before keeps its first problem."""
        self._database.executemany(
            "INSERT OR IGNORE INTO bad VALUES (?, ?)", ((number, problem) for number in numbers)
        )

    def refuse_lock(self, lock: PlannedLock, problem: str) -> None:
        """Refuses all lines that name this lock."""
        found = self._database.execute("SELECT number FROM lines WHERE id = ?", (lock.line.id,))
        self.refuse([number for (number,) in found], problem)

    @property
    def lock_count(self) -> int:
        return self._count("locks")

    @property
    def bad_count(self) -> int:
        return self._count("bad")

    def _count(self, table: str) -> int:
        (count,) = self._database.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)

    def locks(self, at_once: int) -> Iterator[list[PlannedLock]]:
        """Yields all locks, in the order of their first lines."""
        after = -1
        while True:
            rows = self._database.execute(
                "SELECT number, id, org, uuid, given, lines FROM locks WHERE number > ? "
                "ORDER BY number LIMIT ?",
                (after, at_once),
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [
                PlannedLock(n, LockLine(lock_id, org, UUID(bytes=uuid) if given else None), lines)
                for n, lock_id, org, uuid, given, lines in rows
            ]

    def bad_lines(self) -> Iterator[BadLine]:
        """Yields the bad lines in the order of their numbers."""
        rows = self._database.execute("SELECT number, problem FROM bad ORDER BY number")
        return (BadLine(number, problem) for number, problem in rows)


class _Said(msgspec.Struct, frozen=True):
    number: int
    id: int
    org: str
    uuid: bytes
    given: bool


def _said(row: tuple[int, int, str, bytes, int]) -> _Said:
    number, lock_id, org, uuid, given = row
    return _Said(number, lock_id, org, uuid, bool(given))


def _differs(one: _Said, other: _Said, fields: Sequence[str]) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in fields)


def _contradiction(said: _Said, other: _Said, same: str) -> str:
    if same == "uuid":
        return (
            f"gives lock {said.id} the uuid {UUID(bytes=said.uuid)}, and line {other.number} gives "
            f"it to lock {other.id}"
        )
    if said.org != other.org:
        return (
            f"gives lock {said.id} to {said.org}, and line {other.number} gives it to {other.org}"
        )
    return (
        f"gives lock {said.id} {_uuid_text(said)}, and line {other.number} gives it "
        f"{_uuid_text(other)}"
    )


def _uuid_text(said: _Said) -> str:
    return f"the uuid {UUID(bytes=said.uuid)}" if said.given else "no uuid"
