"""``lockstream lock import``: every line of a file is created, existed before, or is bad."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from eventlog.publisher import FactPublisher
from eventlog.registry import Registry, read_registry
from eventlog.topic_setup import ensure_installation
from operations.locks.creation import conflict, create_locks, fact_publisher
from operations.locks.files import BadLine, check_format, read_lock_lines
from operations.locks.import_plan import ImportPlan, PlannedLock
from operations.locks.text_lines import TextLine, read_text_lines
from operations.shared.console import Advance, print_pieces, progress_bar, say
from operations.shared.installation import (
    Installation,
    error_lines,
    open_installation,
    require_read_model,
    run_verb,
)
from runtime.errors import ConfigurationError

CHUNK = 2_000
BAD_LINES_SHOWN = 100


class Imported(msgspec.Struct):
    """Lines by what became of them."""

    created: int = 0
    existing: int = 0
    bad: int = 0

    def count(self, lock: PlannedLock, existed: bool) -> None:
        """One line creates a lock that is new; those that repeat it find it there."""
        created = 0 if existed else 1
        self.created += created
        self.existing += lock.lines - created


def import_locks(
    file: Annotated[
        Path,
        typer.Argument(help="CSV with the columns id,org[,uuid], or NDJSON with the same fields."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Also for organisations that are not registered.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Import locks from a file of UTF-8. It can be run again: locks that exist stay as they are.

    Each line is created, existed before (or repeats another), or is bad: reported by its number,
    the others are imported, and the exit code is 1. Lines that contradict each other or what
    exists are bad, all of them. Without --json the first 100 bad lines are shown."""
    with error_lines(), ImportPlan.open() as plan:
        _plan(file, plan)
        imported = run_verb(lambda: _import(plan, force))
        if as_json:
            print_pieces(_json_pieces(imported, plan.bad_lines()))
        else:
            _say_what_came_of_it(imported, plan.bad_lines())
    if imported.bad:
        raise typer.Exit(1)


def _plan(file: Path, plan: ImportPlan) -> None:
    """
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


async def _import(plan: ImportPlan, force: bool) -> Imported:
    imported = Imported()
    async with open_installation() as here:
        await ensure_installation(here.kafka, here.settings)
        # An installation is set up by an import of no locks, before there is a read model.
        if plan.lock_count:
            await require_read_model(here)
        registry = await read_registry(here.kafka, here.settings.topics.registry)
        with progress_bar("importing", plan.lock_count, "locks") as advance:
            async with fact_publisher(here) as publisher:
                for chunk in plan.locks(CHUNK):
                    known = chunk if force else _of_known_organizations(plan, registry, chunk)
                    await _import_chunk(here, publisher, plan, known, imported)
                    advance(len(chunk))
    imported.bad = plan.bad_count
    return imported


def _of_known_organizations(
    plan: ImportPlan, registry: Registry, chunk: Sequence[PlannedLock]
) -> Sequence[PlannedLock]:
    known = []
    for lock in chunk:
        org = lock.line.org
        if registry.organization(org) is not None:
            known.append(lock)
        else:
            remedy = f"`lockstream org add --id {org}` first, or --force"
            plan.refuse_lock(lock, f"there is no organisation {org}; {remedy}")
    return known


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
    """The report as one JSON document, however many bad lines it has."""
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


def _say_what_came_of_it(imported: Imported, bad_lines: Iterable[BadLine]) -> None:
    for line, _ in zip(bad_lines, range(BAD_LINES_SHOWN), strict=False):
        say(f"line {line.number}: {line.problem}")
    if imported.bad > BAD_LINES_SHOWN:
        say(f"… and {imported.bad - BAD_LINES_SHOWN:,} more; --json lists all")
    total = imported.created + imported.existing + imported.bad
    say(
        f"{total:,} lines: {imported.created:,} locks created, {imported.existing:,} existed "
        f"before, {imported.bad:,} bad lines"
    )
