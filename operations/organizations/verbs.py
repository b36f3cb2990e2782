"""``lockstream org …`` and ``token …``: who may ask."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from eventlog.registry import Registry, edit_registry, read_registry
from eventlog.topic_setup import ensure_installation
from operations.organizations.removal import (
    live_keys,
    partners_of,
    remove_organization,
)
from operations.organizations.signing import mint_token
from operations.shared.configuration import fail, load_settings
from operations.shared.console import print_json, print_table, say, show
from operations.shared.durations import read_duration
from operations.shared.installation import Installation, open_installation, run_verb
from operations.shared.names import check_name
from runtime.errors import ConfigurationError, LockstreamError
from schemas.primitives import write_time
from schemas.registry import Organization

org = typer.Typer(no_args_is_help=True, help="Organisations.")
token = typer.Typer(no_args_is_help=True, help="Tokens of the local signing key.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@org.command("add")
def add_organization(
    org_id: Annotated[str, typer.Option("--id", help="Letters, digits, '.', '_', '-'.")],
    as_json: Json = False,
) -> None:
    """Register an organisation. Registering it again changes nothing."""

    async def verb() -> None:
        async with open_installation() as here:
            created = await ensure_organization(here, org_id)
        if as_json:
            print_json({"id": org_id, "created": created})
        else:
            say(f"organisation {org_id} {'registered' if created else 'was registered before'}")

    run_verb(verb)


async def ensure_organization(here: Installation, org_id: str) -> bool:
    """False if it was there before."""
    check_name("--id", org_id)
    await ensure_installation(here.kafka, here.settings)
    entry = Organization(id=org_id, created_at=write_time(datetime.now(UTC)))

    def edit(registry: Registry) -> Sequence[Organization]:
        return [entry] if registry.organization(org_id) in (None, entry) else []

    return bool(await edit_registry(here.kafka, here.settings.topics.registry, edit))


def check_organization(registry: Registry, org_id: str) -> None:
    """
    Raises:
        ConfigurationError: there is no such organisation.
    """
    if registry.organization(org_id) is None:
        raise ConfigurationError(
            f"there is no organisation {org_id}; `lockstream org add --id {org_id}` first, or use "
            "--force"
        )


@org.command("list")
def list_organizations(as_json: Json = False) -> None:
    """List organisations, with how many live keys and partners each has."""

    async def verb() -> Registry:
        async with open_installation() as here:
            return await read_registry(here.kafka, here.settings.topics.registry)

    registry = run_verb(verb)
    rows = [
        {
            "id": entry.id,
            "createdAt": entry.created_at,
            "liveKeys": len(live_keys(registry, entry.id)),
            "partners": len(partners_of(registry, entry.id)),
        }
        for entry in registry.all(Organization)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("organisation", "added", "live keys", "partners"),
            [(r["id"], r["createdAt"], r["liveKeys"], r["partners"]) for r in rows],
        )


@org.command("remove")
def remove(
    org_id: Annotated[str, typer.Option("--id", help="As `org list` shows it.")],
    as_json: Json = False,
) -> None:
    """Take an organisation out of the registry. It must have no locks, live keys or partners."""

    async def verb() -> None:
        async with open_installation() as here:
            await remove_organization(here, org_id)
        if as_json:
            print_json({"id": org_id, "removed": True})
        else:
            say(f"organisation {org_id} is removed")

    run_verb(verb)


@token.command("mint")
def mint(
    subject: Annotated[str, typer.Option("--sub", help="Whom the token is for.")],
    org_id: Annotated[
        str | None, typer.Option("--org", help="A service's organisation; without, it is a user.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 1h, 30m, 1d.")] = "1h",
    scope: Annotated[str | None, typer.Option(help="Its scope; without, it carries none.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="For an organisation that is not registered; asks nobody."),
    ] = False,
) -> None:
    """Print a token signed with the local key, whose JWKS `lockstream up` gives to the API."""

    async def check(org_id: str) -> None:
        async with open_installation() as here:
            registry = await read_registry(here.kafka, here.settings.topics.registry)
        check_organization(registry, org_id)

    if org_id is not None and not force:
        run_verb(lambda: check(org_id))
    try:
        settings = load_settings()
        signed = mint_token(
            settings,
            subject=subject,
            org_id=org_id,
            lifetime=read_duration("--ttl", ttl),
            scope=scope,
        )
    except LockstreamError as error:
        raise fail(error) from error
    show(signed)
