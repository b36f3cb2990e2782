"""``lockstream partner …``: says who gets events, of what types, from when on."""

from typing import Annotated

import typer

from operations.partners.access_verbs import credentials, make_certificates, show_partner
from operations.partners.changes import pause_partner, remove_partner, set_status
from operations.partners.entries import live_partner
from operations.partners.event_types import TYPES_HELP, read_types
from operations.partners.lag import show_lag
from operations.partners.missing_verb import show_missing
from operations.partners.offsets import show_offsets
from operations.partners.rates import MaxRateOption, read_rate, set_max_rate
from operations.partners.registration import create_partner
from operations.partners.replay_verbs import cancel, replay, replays
from operations.partners.retention import RetentionOption, read_retention, set_retention
from operations.partners.subscription import Subscription, change_types
from operations.shared.console import print_json, print_table, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson, Force
from operations.shared.start_points import EARLIEST, START_HELP
from runtime.errors import ConfigurationError
from schemas.registry import Partner

partner = typer.Typer(no_args_is_help=True, help="Add, change, pause and remove partners.")

partner.add_typer(credentials, name="credentials")
partner.command("show")(show_partner)
partner.command("certificates")(make_certificates)
partner.command("replay")(replay)
partner.command("replays")(replays)
partner.command("cancel")(cancel)

PartnerId = Annotated[str, typer.Argument(help="The partner's id.")]


@partner.command("add")
def add(
    partner_id: Annotated[
        str, typer.Option("--id", help="The partner's id: part of its topic's and group's name.")
    ],
    org_id: Annotated[
        str, typer.Option("--org", help="The organisation whose events the partner gets.")
    ],
    types: Annotated[str, typer.Option(help=TYPES_HELP)] = "*",
    begin: Annotated[
        str, typer.Option("--from", help=f"The first event that it gets: {START_HELP}")
    ] = EARLIEST,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Add a partner. The running fan-out begins to serve it at once."""

    async def added(here: Installation) -> tuple[Partner, str]:
        entry = await create_partner(
            here, partner_id, org_id, read_types(types), begin, force=force
        )
        return entry, here.settings.topics.partner_events(entry.id)

    entry, topic = run_on_installation(added)
    if as_json:
        print_json(_shown(entry))
    else:
        say(f"partner {entry.id} added; its topic is {topic}")
        say(f"next: `lockstream partner credentials issue --id {entry.id}` lets it log in")


@partner.command("list")
def list_partners(as_json: AsJson = False) -> None:
    """List all partners, removed ones too."""
    entries = run_on_installation(Installation.read_registry).all(Partner)
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
        "retentionMs": entry.retention_ms,
    }


@partner.command("remove")
def remove(
    partner_id: PartnerId,
    with_topic: Annotated[
        bool, typer.Option("--delete-topic", help="Also delete its topic and all events in it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop serving a partner for good, and delete the consumer group of its fan-out.

    Its topic stays and can still be read, unless --delete-topic is given."""
    run_on_installation(lambda here: remove_partner(here, partner_id, with_topic=with_topic))
    _report(partner_id, "removed", as_json)


@partner.command("pause")
def pause(partner_id: PartnerId, as_json: AsJson = False) -> None:
    """Stop delivering to a partner until `partner resume`, and wait until no fan-out serves it.

    Nothing is lost meanwhile, however long the pause."""
    run_on_installation(lambda here: pause_partner(here, partner_id))
    _report(partner_id, "paused", as_json)


@partner.command("resume")
def resume(partner_id: PartnerId, as_json: AsJson = False) -> None:
    """Deliver to a paused partner again, from where its events ended."""
    run_on_installation(lambda here: set_status(here, partner_id, "active"))
    _report(partner_id, "active", as_json)


@partner.command("set")
def set_partner(
    partner_id: PartnerId,
    types: Annotated[str | None, typer.Option(help=TYPES_HELP)] = None,
    retention: RetentionOption = None,
    max_rate: MaxRateOption = None,
    as_json: AsJson = False,
) -> None:
    """Change what types of events a partner gets, how long its topic keeps them, and how many bytes
    a second it may read.

    New types hold for every event from the offsets of lock-events on that are told, one of each
    partition, and the old ones for every event before."""

    async def changed(here: Installation) -> tuple[Partner, Subscription | None]:
        wanted = None if types is None else read_types(types)
        retention_ms = None if retention is None else read_retention(retention)
        rate = None if max_rate is None else read_rate(max_rate)
        if wanted is None and retention_ms is None and max_rate is None:
            raise ConfigurationError("name what is to change: --types, --retention or --max-rate")
        now = None if wanted is None else await change_types(here, partner_id, wanted)
        if retention_ms is not None:
            await set_retention(here, partner_id, retention_ms)
        if max_rate is not None:
            await set_max_rate(here, partner_id, rate)
        return live_partner(await here.read_registry(), partner_id), now

    entry, now = run_on_installation(changed)
    if as_json:
        print_json({**_shown(entry), **({"typesSince": list(now.since)} if now else {})})
        return
    if now is not None:
        say(f"partner {partner_id} gets {', '.join(entry.types)}, of lock-events from")
        print_table(("partition", "offset"), list(enumerate(now.since)))
    if retention is not None:
        say(f"partner {partner_id}'s topic keeps a record for {retention.strip()}")
    if max_rate is not None:
        say(f"partner {partner_id}: each of its users may read {max_rate.strip()} a second")


def _report(partner_id: str, status: str, as_json: bool) -> None:
    if as_json:
        print_json({"id": partner_id, "status": status})
    else:
        say(f"partner {partner_id} is {status}")


partner.command("lag")(show_lag)
partner.command("missing")(show_missing)
partner.command("offsets")(show_offsets)
