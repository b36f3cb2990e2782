"""``lockstream lock …``: the locks themselves."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO
from uuid import UUID

import msgspec
import typer

from lockstream.eventlog.installation import ensure_installation
from lockstream.eventlog.publisher import FactPublisher
from lockstream.operations.configuration import fail
from lockstream.operations.console import Advance, print_json, progress_bar, say
from lockstream.operations.installation import Installation, open_installation, run_verb
from lockstream.operations.lock_files import LockLine, read_lock_lines
from lockstream.operations.names import check_lock_id, check_name
from lockstream.runtime.errors import ConfigurationError, LockstreamError, Unavailable
from lockstream.runtime.tracing import NoTracing
from lockstream.schemas.lock_facts import Actor, LockCreated, LockCreation
from lockstream.schemas.primitives import default_lock_uuid, event_id_of_lock_creation, write_time
from lockstream.schemas.topics import partition_of

lock = typer.Typer(no_args_is_help=True, help="Locks.")

CHUNK = 2_000
PUBLISH_S = 30.0
STALL_S = 20.0
BAD_LINES_SHOWN = 100

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class Imported(msgspec.Struct):
    """Lines by what became of them."""

    created: int = 0
    existing: int = 0
    bad: int = 0


@lock.command("add")
def add_lock(
    lock_id: Annotated[int, typer.Option("--id", help="The lock's number.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that it belongs to.")],
    lock_uuid: Annotated[
        UUID | None, typer.Option("--uuid", help="Its aggregate id; without, one is derived.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record that a lock exists, and wait until commands can use it."""

    async def verb() -> None:
        check_lock_id("--id", lock_id)
        check_name("--org", org_id)
        async with open_installation() as here:
            await _prepare(here)
            if await ensure_lock(here, LockLine(lock_id, org_id, lock_uuid)):
                await _show(here, lock_id, as_json)
                return
        raise ConfigurationError(f"lock {lock_id} exists already; `lockstream lock show {lock_id}`")

    run_verb(verb)


async def _prepare(here: Installation) -> None:
    await ensure_installation(here.kafka, here.settings)
    await here.read_model.prepare()


async def ensure_lock(here: Installation, line: LockLine) -> bool:
    """False if it was there before."""
    if await here.read_model.known_lock_ids([line.id]):
        return False
    await _publish(here, [line])
    await _wait_until_known(here, [line.id])
    return True


@lock.command("show")
def show_lock(
    lock_id: Annotated[int, typer.Argument(help="The lock's number.")], as_json: Json = False
) -> None:
    """Show a lock as the read model has it."""

    async def verb() -> None:
        check_lock_id("LOCK_ID", lock_id)
        async with open_installation() as here:
            await here.read_model.prepare()
            await _show(here, lock_id, as_json)

    run_verb(verb)


async def _show(here: Installation, lock_id: int, as_json: bool) -> None:
    partition = partition_of(lock_id, here.settings.partitions)
    row, _ = await here.read_model.lock(lock_id, partition)
    if row is None:
        raise ConfigurationError(f"there is no lock {lock_id} in the read model")
    shown = {
        "lockId": row.lock_id,
        "aggregateId": str(row.lock_uuid),
        "orgId": row.org_id,
        "version": row.version,
        "updatedAt": row.updated_at,
        "partition": partition,
    }
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            print(f"{name:12} {value}", flush=True)


@lock.command("import")
def import_locks(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns id,org[,uuid], or NDJSON with the same fields.",
            exists=True,
            dir_okay=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Import locks from a file. Interrupted or not, it can be run again: locks that exist stay as
    they are. Bad lines are reported by number and the others imported; the exit code is then 1."""

    async def verb() -> Imported:
        async with open_installation() as here:
            await _prepare(here)
            return await _import(here, file, file.stat().st_size)

    imported = run_verb(verb)
    if as_json:
        print_json(msgspec.structs.asdict(imported))
    else:
        say(
            f"{imported.created:,} locks created, {imported.existing:,} existed before, "
            f"{imported.bad:,} bad lines"
        )
    if imported.bad:
        raise typer.Exit(1)


async def _import(here: Installation, file: Path, size: int) -> Imported:
    """``size``: of the file, in bytes."""
    imported = Imported()
    with file.open(encoding="utf-8", newline="") as lines:
        try:
            # A first look, so that a wrong format is said before anything is recorded.
            read_lock_lines(file.name, ())
        except LockstreamError as error:
            raise fail(error) from error
        with progress_bar("importing locks", size, "bytes") as advance:
            chunk: list[LockLine] = []
            for line in _counted(file.name, lines, advance, imported):
                chunk.append(line)
                if len(chunk) == CHUNK:
                    await _import_chunk(here, chunk, imported)
                    chunk = []
            await _import_chunk(here, chunk, imported)
    return imported


def _counted(name: str, lines: TextIO, advance: Advance, imported: Imported) -> Iterable[LockLine]:
    def counting() -> Iterable[str]:
        for line in lines:
            advance(len(line.encode()))
            yield line

    for line in read_lock_lines(name, counting()):
        if isinstance(line, LockLine):
            yield line
            continue
        imported.bad += 1
        if imported.bad <= BAD_LINES_SHOWN:
            say(f"line {line.number}: {line.problem}")


async def _import_chunk(here: Installation, chunk: Sequence[LockLine], imported: Imported) -> None:
    by_id = {line.id: line for line in chunk}
    existing = await here.read_model.known_lock_ids(by_id)
    fresh = [line for lock_id, line in by_id.items() if lock_id not in existing]
    if fresh:
        await _publish(here, fresh)
        await _wait_until_known(here, [line.id for line in fresh])
    imported.created += len(fresh)
    imported.existing += len(chunk) - len(fresh)


async def _publish(here: Installation, lines: Sequence[LockLine]) -> None:
    publisher = FactPublisher(
        here.kafka,
        here.settings.topics.lock_facts,
        here.settings.partitions,
        PUBLISH_S,
        NoTracing(),
    )
    now = write_time(datetime.now(UTC))
    facts = [
        LockCreated(
            event_id=event_id_of_lock_creation(line.id),
            lock_id=line.id,
            occurred_at=now,
            actor=Actor(kind="operator", subject="lockstream lock", org_id=line.org),
            data=LockCreation(lock_uuid=line.uuid or default_lock_uuid(line.id), org_id=line.org),
        )
        for line in lines
    ]
    try:
        await publisher.start()
        await asyncio.gather(*(publisher.publish(fact) for fact in facts))
    finally:
        await publisher.close()


async def _wait_until_known(here: Installation, lock_ids: Sequence[int]) -> None:
    """
    Raises:
        Unavailable: the projector makes no progress.
    """
    loop = asyncio.get_running_loop()
    missing = set(lock_ids)
    deadline = loop.time() + STALL_S
    pause = 0.01
    while True:
        known = await here.read_model.known_lock_ids(missing)
        missing -= known
        if not missing:
            return
        if known:
            deadline = loop.time() + STALL_S
        if loop.time() > deadline:
            raise Unavailable(
                f"the facts are recorded, but {len(missing)} locks are still not in the read "
                f"model after {STALL_S:.0f} s (lock {min(missing)}, for one): is the projector "
                "running on the same READ_MODEL_URL?"
            )
        await asyncio.sleep(pause)
        pause = min(0.2, pause * 1.5)
