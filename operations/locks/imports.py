"""``lockstream lock import``: creates the locks that a file names."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from eventlog.publisher import FactPublisher
from eventlog.registry import Registry
from eventlog.topic_setup import ensure_installation
from operations.locks.creation import PUBLISH_S, conflict, create_locks
from operations.locks.files import BadLine, check_format, read_lock_lines
from operations.locks.import_plan import ImportPlan, PlannedLock
from operations.locks.text_lines import TextLine, read_text_lines
from operations.shared.console import Advance, print_pieces, progress_bar, say
from operations.shared.installation import Installation, error_lines, run_on_installation
from operations.shared.options import AsJson, Force
from runtime.errors import ConfigurationError

CHUNK = 2_000
BAD_LINES_SHOWN = 100


class Imported(msgspec.Struct):
    """Counts lines by what became of them."""

    created: int = 0
    existing: int = 0
    bad: int = 0

    def count(self, lock: PlannedLock, existed: bool) -> None:
        """Counts a lock's lines: one creates a new lock, those that repeat it find it there."""
        created = 0 if existed else 1
        self.created += created
        self.existing += lock.lines - created


def import_locks(
    file: Annotated[
        Path,
        typer.Argument(help="CSV with the columns id,org[,uuid], or NDJSON with the same fields."),
    ],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Import locks from a file of UTF-8. It can be run again: locks that exist stay as they are.

    Each line counts as created, as existing (the lock was there, or another line names it) or as
    bad. Lines that contradict each other, or a lock that exists, are all bad. The good lines are
    imported, the bad ones are reported by their numbers, and the exit code is then 1. Without
    --json only the first 100 bad lines are shown."""
    with error_lines(), ImportPlan.open() as plan:
        _plan(file, plan)
        imported = run_on_installation(lambda here: _import(here, plan, force))
        if as_json:
            print_pieces(_json_pieces(imported, plan.bad_lines()))
        else:
            _say_results(imported, plan.bad_lines())
    if imported.bad:
        raise typer.Exit(1)


def _plan(file: Path, plan: ImportPlan) -> None:
    """Reads the file into the plan.

    Raises:
        ConfigurationError: the file can't be read, or is not what it should be.
    """
    check_format(file.name)
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            with progress_bar("reading", size, "bytes") as advance:
                lines = _counted(read_text_lines(str(file), stream), advance)
                plan.take(read_lock_lines(str(file), lines))
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from error
    plan.judge()


def _counted(lines: Iterable[TextLine], advance: Advance) -> Iterator[TextLine]:
    for line in lines:
        advance(line.size)
        yield line


async def _import(here: Installation, plan: ImportPlan, force: bool) -> Imported:
    imported = Imported()
    await ensure_installation(here.kafka, here.settings)
    # An installation is set up by an import of no locks, before there is a read model.
    if plan.lock_count:
        await here.require_read_model()
    registry = await here.read_registry()
    with progress_bar("importing", plan.lock_count, "locks") as advance:
        async with here.fact_publisher(PUBLISH_S) as publisher:
            for chunk in plan.locks(CHUNK):
                locks = chunk if force else _of_registered_organizations(plan, registry, chunk)
                await _import_chunk(here, publisher, plan, locks, imported)
                advance(len(chunk))
    imported.bad = plan.bad_count
    return imported


def _of_registered_organizations(
    plan: ImportPlan, registry: Registry, chunk: Sequence[PlannedLock]
) -> Sequence[PlannedLock]:
    """Takes the locks of organisations that are registered; refuses the others in the plan."""
    registered = []
    for lock in chunk:
        org = lock.line.org
        if registry.organization(org) is not None:
            registered.append(lock)
        else:
            remedy = f"`lockstream org add --id {org}` first, or --force"
            plan.refuse_lock(lock, f"there is no organisation {org}; {remedy}")
    return registered


async def _import_chunk(
    here: Installation,
    publisher: FactPublisher,
    plan: ImportPlan,
    chunk: Sequence[PlannedLock],
    imported: Imported,
) -> None:
    rows = await here.read_model.locks([lock.line.id for lock in chunk])
    fresh = [lock for lock in chunk if lock.line.id not in rows]
    problems: Mapping[int, str | None] = {
        lock.line.id: conflict(lock.line, rows[lock.line.id])
        for lock in chunk
        if lock.line.id in rows
    }
    if fresh:
        problems = {
            **problems,
            **await create_locks(here, publisher, [lock.line for lock in fresh]),
        }
    for lock in chunk:
        problem = problems.get(lock.line.id)
        if problem is not None:
            plan.refuse_lock(lock, problem)
        else:
            imported.count(lock, existed=lock.line.id in rows)


def _json_pieces(imported: Imported, bad_lines: Iterable[BadLine]) -> Iterator[str]:
    """Yields the report as one JSON document, however many bad lines it has."""
    counts = json.dumps(
        {
            "lines": imported.created + imported.existing + imported.bad,
            **msgspec.structs.asdict(imported),
        }
    )
    yield counts.removesuffix("}") + ', "badLines": ['
    for index, line in enumerate(bad_lines):
        yield ("" if index == 0 else ", ") + json.dumps(msgspec.structs.asdict(line))
    yield "]}\n"


def _say_results(imported: Imported, bad_lines: Iterable[BadLine]) -> None:
    for line, _ in zip(bad_lines, range(BAD_LINES_SHOWN), strict=False):
        say(f"line {line.number}: {line.problem}")
    if imported.bad > BAD_LINES_SHOWN:
        say(f"… and {imported.bad - BAD_LINES_SHOWN:,} more; --json lists all")
    total = imported.created + imported.existing + imported.bad
    say(
        f"{total:,} lines: {imported.created:,} locks created, {imported.existing:,} existed "
        f"before, {imported.bad:,} bad lines"
    )
