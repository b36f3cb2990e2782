"""``lockstream partner …``: who gets events, of what types, from when on."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import typer

from eventlog.groups import delete_group, read_groups
from eventlog.registry import Registry, edit_registry, read_registry
from eventlog.topic_setup import delete_topic, topic_exists
from operations.partners.pause import end_fanout, keep_position
from operations.partners.registration import create_partner
from operations.running.status import fanout_group
from operations.shared.console import print_json, print_table, say
from operations.shared.installation import Installation, open_installation, run_verb
from operations.shared.start_points import EARLIEST, START_HELP
from runtime.errors import ConfigurationError
from schemas.lock_events import EVENT_TYPES
from schemas.registry import Partner

partner = typer.Typer(no_args_is_help=True, help="Partners and their topics.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
PartnerId = Annotated[str, typer.Argument(help="The partner's id.")]


@partner.command("add")
def add_partner(
    partner_id: Annotated[str, typer.Option("--id", help="Names its topic and its group.")],
    org_id: Annotated[str, typer.Option("--org", help="Whose events it gets, and no others.")],
    types: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(EVENT_TYPES)}; '*' for all.")
    ] = "*",
    begin: Annotated[
        str, typer.Option("--from", help=f"The first event that it gets: {START_HELP}")
    ] = EARLIEST,
    force: Annotated[
        bool, typer.Option("--force", help="Also for an organisation that is not registered.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a partner. The running fan-out begins to serve it at once."""

    async def verb() -> Partner:
        async with open_installation() as here:
            return await create_partner(
                here, partner_id, org_id, read_types(types), begin, force=force
            )

    added = run_verb(verb)
    if as_json:
        print_json(_shown(added))
    else:
        say(f"partner {added.id} added; it reads {_topic_hint(added)}")


def _topic_hint(entry: Partner) -> str:
    return f"partner.{entry.id}.lock-events"


def read_types(text: str) -> tuple[str, ...]:
    """
    Raises:
        ConfigurationError: a type that doesn't exist would match nothing, for ever, in silence.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in (*EVENT_TYPES, "*")]
    if unknown or not names:
        raise ConfigurationError(
            f"--types: {unknown[0] if unknown else text!r} is not an event type; "
            f"there are {', '.join(EVENT_TYPES)}, and '*' for all"
        )
    return names


@partner.command("list")
def list_partners(as_json: Json = False) -> None:
    """List partners."""

    async def verb() -> list[Partner]:
        async with open_installation() as here:
            registry = await read_registry(here.kafka, here.settings.topics.registry)
            return registry.all(Partner)

    entries = run_verb(verb)
    if as_json:
        print_json([_shown(entry) for entry in entries])
    else:
        print_table(
            ("partner", "organisation", "types", "status", "added"),
            [(e.id, e.org_id, ",".join(e.types), e.status, e.created_at) for e in entries],
        )


def _shown(entry: Partner) -> dict[str, object]:
    return {
        "id": entry.id,
        "orgId": entry.org_id,
        "types": list(entry.types),
        "status": entry.status,
        "createdAt": entry.created_at,
        "startOffsets": list(entry.start_offsets),
    }


@partner.command("remove")
def remove_partner(
    partner_id: PartnerId,
    with_topic: Annotated[
        bool, typer.Option("--delete-topic", help="Delete its topic and all events in it, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop serving a partner for good, and delete its fan-out's group. Its topic stays to be read,
    unless it is to be deleted."""

    async def verb() -> None:
        async with open_installation() as here:
            await _remove(here, partner_id, with_topic=with_topic)

    run_verb(verb)
    _report(partner_id, "removed", as_json)


async def _remove(here: Installation, partner_id: str, *, with_topic: bool) -> None:
    await _set_status(here, partner_id, "removed")
    await end_fanout(here, partner_id)
    topics = here.settings.topics
    topic = topics.partner_events(partner_id)
    if with_topic and await topic_exists(here.kafka, topic):
        await delete_topic(here.kafka, topic)
    await delete_group(here.kafka, topics.fanout_group(partner_id))


@partner.command("pause")
def pause_partner(partner_id: PartnerId, as_json: Json = False) -> None:
    """Stop delivering to a partner until `partner resume`, however late: nothing is lost
    meanwhile. Waits until no fan-out serves it any more."""

    async def verb() -> None:
        async with open_installation() as here:
            await _pause(here, partner_id)

    run_verb(verb)
    _report(partner_id, "paused", as_json)


async def _pause(here: Installation, partner_id: str) -> None:
    await _set_status(here, partner_id, "paused")
    await keep_position(here, partner_id)


@partner.command("resume")
def resume_partner(partner_id: PartnerId, as_json: Json = False) -> None:
    """Deliver to a paused partner again, from where it was."""

    async def verb() -> None:
        async with open_installation() as here:
            await _set_status(here, partner_id, "active")

    run_verb(verb)
    _report(partner_id, "active", as_json)


@partner.command("set")
def set_partner(
    partner_id: PartnerId,
    types: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(EVENT_TYPES)}; '*' for all.")
    ],
    as_json: Json = False,
) -> None:
    """Change what types of events a partner gets, from where its fan-out is on."""

    async def verb() -> Partner:
        async with open_installation() as here:
            return await _set_types(here, partner_id, read_types(types))

    changed = run_verb(verb)
    if as_json:
        print_json(_shown(changed))
    else:
        say(f"partner {partner_id} gets {', '.join(changed.types)}")


async def _set_types(here: Installation, partner_id: str, types: tuple[str, ...]) -> Partner:
    def edit(registry: Registry) -> Sequence[Partner]:
        entry = registry.partner(partner_id)
        if entry is None or entry.status == "removed":
            raise _no_such(partner_id)
        return [msgspec.structs.replace(entry, types=types)]

    (changed,) = await edit_registry(here.kafka, here.settings.topics.registry, edit)
    return changed


def _no_such(partner_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is no partner {partner_id}; `lockstream partner list` shows all"
    )


async def _set_status(
    here: Installation, partner_id: str, status: Literal["active", "paused", "removed"]
) -> None:
    def edit(registry: Registry) -> Sequence[Partner]:
        entry = registry.partner(partner_id)
        if entry is None or (entry.status == "removed" and status != "removed"):
            raise _no_such(partner_id)
        return [] if entry.status == status else [msgspec.structs.replace(entry, status=status)]

    await edit_registry(here.kafka, here.settings.topics.registry, edit)


def _report(partner_id: str, status: str, as_json: bool) -> None:
    if as_json:
        print_json({"id": partner_id, "status": status})
    else:
        say(f"partner {partner_id} is {status}")


@partner.command("lag")
def show_lag(as_json: Json = False) -> None:
    """How far each partner's fan-out is behind `lock-events`, in records, by its checkpoints
    (written every 5 seconds)."""

    async def verb() -> list[dict[str, object]]:
        async with open_installation() as here:
            registry = await read_registry(here.kafka, here.settings.topics.registry)
            entries = [entry for entry in registry.all(Partner) if entry.status != "removed"]
            groups = await read_groups(
                here.kafka, [fanout_group(here.settings, e) for e in entries]
            )
        return [
            {
                "id": entry.id,
                "status": entry.status,
                "lag": sum(p.lag for p in group.progress.values()),
            }
            for entry, group in zip(entries, groups, strict=True)
        ]

    rows = run_verb(verb)
    if as_json:
        print_json(rows)
    else:
        print_table(("partner", "status", "lag"), [(r["id"], r["status"], r["lag"]) for r in rows])
