"""``lockstream lock …``: adds, lists, shows, imports and moves locks."""

from typing import Annotated
from uuid import UUID

import typer

from eventlog.topic_setup import ensure_installation
from operations.locks.creation import ensure_lock, read_lock
from operations.locks.files import LockLine
from operations.locks.imports import import_locks
from operations.locks.move import Moved, move_lock
from operations.organizations.organizations import check_organization
from operations.shared.console import print_json, print_table, say, show
from operations.shared.installation import Installation, run_on_installation
from operations.shared.names import check_lock_id, check_name
from operations.shared.options import AsJson, Force, OnlyOrganization
from read_model.rows import LockRow
from runtime.errors import ConfigurationError
from schemas.primitives import MAX_LOCK_ID
from schemas.topics import partition_of

lock = typer.Typer(no_args_is_help=True, help="Add, import, move and show locks.")


@lock.command("add")
def add(
    lock_id: Annotated[int, typer.Option("--id", help="The lock's number.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that it belongs to.")],
    lock_uuid: Annotated[
        UUID | None,
        typer.Option("--uuid", help="Its aggregate id. Without: derived from the lock's number."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Record that a lock exists, and wait until commands can use it."""

    async def added(here: Installation) -> dict[str, object]:
        check_lock_id("--id", lock_id)
        check_name("--org", org_id)
        await ensure_installation(here.kafka, here.settings)
        await here.require_read_model()
        if not force:
            check_organization(await here.read_registry(), org_id)
        if await ensure_lock(here, LockLine(lock_id, org_id, lock_uuid)):
            return await _described(here, lock_id)
        raise ConfigurationError(f"lock {lock_id} exists already; `lockstream lock show {lock_id}`")

    _show(run_on_installation(added), as_json)


@lock.command("show")
def show_lock(
    lock_id: Annotated[int, typer.Argument(help="The lock's number.")], as_json: AsJson = False
) -> None:
    """Show a lock as the read model has it."""

    async def found(here: Installation) -> dict[str, object]:
        check_lock_id("LOCK_ID", lock_id)
        await here.require_read_model()
        return await _described(here, lock_id)

    _show(run_on_installation(found), as_json)


async def _described(here: Installation, lock_id: int) -> dict[str, object]:
    row = await read_lock(here, lock_id)
    return {**_shown(row), "partition": partition_of(lock_id, here.settings.partitions)}


def _show(shown: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            show(f"{name:12} {value}")


@lock.command("move")
def move(
    lock_id: Annotated[int, typer.Option("--id", help="The lock's number.")],
    org_id: Annotated[str, typer.Option("--org", help="The organisation that it goes to.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Move a lock to another organisation, for everything that is recorded from now on.

    Events that are recorded already stay with the organisation that the lock belonged to then.
    Moving a lock to the organisation that has it changes nothing."""

    async def moved(here: Installation) -> Moved:
        check_lock_id("--id", lock_id)
        check_name("--org", org_id)
        return await move_lock(here, lock_id, org_id, force=force)

    outcome = run_on_installation(moved)
    row = outcome.lock
    if as_json:
        print_json(
            {
                "lockId": row.lock_id,
                "aggregateId": str(row.lock_uuid),
                "orgId": row.org_id,
                "version": row.version,
                "changed": outcome.changed,
            }
        )
    elif outcome.changed:
        say(f"lock {row.lock_id} belongs to {row.org_id} since version {row.version}")
    else:
        say(f"lock {row.lock_id} belongs to {row.org_id} already")


@lock.command("list")
def list_locks(
    org_id: OnlyOrganization = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many at most, 1 to 10,000.")
    ] = 100,
    after: Annotated[
        int, typer.Option(min=0, help="Only locks with greater ids: the last id of a page.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """List locks by their ids, as the read model has them.

    After a full page there may be more: go on with --after and its last id (in JSON `nextAfter`,
    which is null after the last page)."""

    async def page(here: Installation) -> list[LockRow]:
        if org_id is not None:
            check_name("--org", org_id)
        await here.require_read_model()
        return await here.read_model.locks_after(min(after, MAX_LOCK_ID), org_id, limit + 1)

    found = run_on_installation(page)
    rows, more = found[:limit], len(found) > limit
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
