"""``lockstream lock …``: the locks themselves."""

from typing import Annotated
from uuid import UUID

import typer

from eventlog.registry import read_registry
from eventlog.topic_setup import ensure_installation
from operations.locks.creation import create_locks, fact_publisher
from operations.locks.files import LockLine
from operations.locks.imports import import_locks
from operations.locks.move import Moved, move_lock
from operations.organizations.verbs import check_organization
from operations.shared.console import print_json, print_table, say, show
from operations.shared.installation import (
    Installation,
    open_installation,
    require_read_model,
    run_verb,
)
from operations.shared.names import check_lock_id, check_name
from read_model.rows import LockRow
from runtime.errors import ConfigurationError
from schemas.primitives import MAX_LOCK_ID
from schemas.topics import partition_of

lock = typer.Typer(no_args_is_help=True, help="Locks.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Force = Annotated[
    bool, typer.Option("--force", help="Also for an organisation that is not registered.")
]


@lock.command("add")
def add_lock(
    lock_id: Annotated[int, typer.Option("--id", help="The lock's number.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that it belongs to.")],
    lock_uuid: Annotated[
        UUID | None, typer.Option("--uuid", help="Its aggregate id; without, one is derived.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Record that a lock exists, and wait until commands can use it."""

    async def verb() -> None:
        check_lock_id("--id", lock_id)
        check_name("--org", org_id)
        async with open_installation() as here:
            await _prepare(here)
            if not force:
                registry = await read_registry(here.kafka, here.settings.topics.registry)
                check_organization(registry, org_id)
            if await ensure_lock(here, LockLine(lock_id, org_id, lock_uuid)):
                await _show(here, lock_id, as_json)
                return
        raise ConfigurationError(f"lock {lock_id} exists already; `lockstream lock show {lock_id}`")

    run_verb(verb)


async def _prepare(here: Installation) -> None:
    await ensure_installation(here.kafka, here.settings)
    await require_read_model(here)


async def ensure_lock(here: Installation, line: LockLine) -> bool:
    """False if it was there before.

    Raises:
        ConfigurationError: it could not be created, or somebody else was quicker.
        Unavailable: Kafka, the read model or the projector.
    """
    if await here.read_model.known_lock_ids([line.id]):
        return False
    async with fact_publisher(here) as publisher:
        problems = await create_locks(here, publisher, [line])
    for problem in problems.values():
        raise ConfigurationError(problem)
    return True


@lock.command("show")
def show_lock(
    lock_id: Annotated[int, typer.Argument(help="The lock's number.")], as_json: Json = False
) -> None:
    """Show a lock as the read model has it."""

    async def verb() -> None:
        check_lock_id("LOCK_ID", lock_id)
        async with open_installation() as here:
            await require_read_model(here)
            await _show(here, lock_id, as_json)

    run_verb(verb)


@lock.command("move")
def move(
    lock_id: Annotated[int, typer.Option("--id", help="The lock's number.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that it goes to.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Move a lock to another organisation, for all that is recorded from now on.

    What stands in its stream already stays with the organisation that it was of. Moving it where
    it is changes nothing."""

    async def verb() -> Moved:
        check_lock_id("--id", lock_id)
        check_name("--org", org_id)
        async with open_installation() as here:
            return await move_lock(here, lock_id, org_id, force=force)

    moved = run_verb(verb)
    row = moved.lock
    if as_json:
        print_json(
            {
                "lockId": row.lock_id,
                "aggregateId": str(row.lock_uuid),
                "orgId": row.org_id,
                "version": row.version,
                "changed": moved.changed,
            }
        )
    elif moved.changed:
        say(f"lock {row.lock_id} belongs to {row.org_id} since version {row.version}")
    else:
        say(f"lock {row.lock_id} belongs to {row.org_id} already")


async def _show(here: Installation, lock_id: int, as_json: bool) -> None:
    partition = partition_of(lock_id, here.settings.partitions)
    row, _ = await here.read_model.lock(lock_id, partition)
    if row is None:
        raise ConfigurationError(f"there is no lock {lock_id} in the read model")
    shown = {**_shown(row), "partition": partition}
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            show(f"{name:12} {value}")


@lock.command("list")
def list_locks(
    org_id: Annotated[str | None, typer.Option("--org", help="Only this organisation's.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many at most, 1 to 10,000.")
    ] = 100,
    after: Annotated[
        int, typer.Option(min=0, help="Only locks with greater ids: the last one of a page.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """List locks by their ids, as the read model has them.

    A page that is full may not be the last: go on with --after and its last id (`nextAfter` in
    JSON, null after the last page)."""

    async def verb() -> tuple[list[LockRow], bool]:
        if org_id is not None:
            check_name("--org", org_id)
        async with open_installation() as here:
            await require_read_model(here)
            rows = await here.read_model.locks_after(min(after, MAX_LOCK_ID), org_id, limit + 1)
            return rows[:limit], len(rows) > limit

    rows, more = run_verb(verb)
    if as_json:
        shown = [_shown(row) for row in rows]
        print_json({"locks": shown, "nextAfter": rows[-1].lock_id if more else None})
        return
    print_table(
        ("lock", "aggregate id", "organisation", "version", "updated"),
        [(r.lock_id, r.lock_uuid, r.org_id, r.version, r.updated_at) for r in rows],
    )
    if more:
        say(f"there are more: --after {rows[-1].lock_id}")


def _shown(row: LockRow) -> dict[str, object]:
    return {
        "lockId": row.lock_id,
        "aggregateId": str(row.lock_uuid),
        "orgId": row.org_id,
        "version": row.version,
        "updatedAt": row.updated_at,
    }


lock.command("import")(import_locks)
