"""``lockstream org …``, ``key …`` and ``token …``: who may ask."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from lockstream.command_api.api_keys import generate_key, hash_key, is_live
from lockstream.eventlog.installation import ensure_installation
from lockstream.eventlog.registry import read_registry, write_entries
from lockstream.operations.configuration import fail, load_settings
from lockstream.operations.console import print_json, print_table, say
from lockstream.operations.durations import read_duration
from lockstream.operations.installation import Installation, open_installation, run_verb
from lockstream.operations.names import check_name
from lockstream.operations.signing import mint_token
from lockstream.runtime.errors import ConfigurationError, LockstreamError
from lockstream.schemas.primitives import write_time
from lockstream.schemas.registry import ApiKey, Organization

org = typer.Typer(no_args_is_help=True, help="Organisations.")
key = typer.Typer(no_args_is_help=True, help="API keys.")
token = typer.Typer(no_args_is_help=True, help="Tokens of the local signing key.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
OrgId = Annotated[str, typer.Option("--org", help="The organisation's id.")]


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
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    if registry.organization(org_id) is not None:
        return False
    entry = Organization(id=org_id, created_at=write_time(datetime.now(UTC)))
    await write_entries(here.kafka, here.settings.topics.registry, [entry])
    return True


@key.command("issue")
def issue_key(
    org_id: OrgId,
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid: 90d, 12h. Without: for ever.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Issue an API key and print it, this once: only its hash is kept."""

    async def verb() -> None:
        async with open_installation() as here:
            entry, secret = await create_key(here, org_id, expires)
        if as_json:
            print_json({"keyId": entry.key_id, "key": secret, "notAfter": entry.not_after})
        else:
            print(secret, flush=True)
            say(f"key {entry.key_id} of {org_id}; it is not shown again")

    run_verb(verb)


async def create_key(here: Installation, org_id: str, expires: str | None) -> tuple[ApiKey, str]:
    """The registry's entry and the key itself.

    Raises:
        ConfigurationError: no such organisation.
    """
    now = datetime.now(UTC)
    not_after = write_time(now + read_duration(expires)) if expires is not None else None
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    if registry.organization(org_id) is None:
        raise ConfigurationError(
            f"there is no organisation {org_id}; `lockstream org add --id {org_id}` first"
        )
    key_id, secret = generate_key()
    entry = ApiKey(
        key_id=key_id,
        org_id=org_id,
        sha256=hash_key(secret),
        created_at=write_time(now),
        not_after=not_after,
    )
    await write_entries(here.kafka, here.settings.topics.registry, [entry])
    return entry, secret


@key.command("list")
def list_keys(
    org_id: Annotated[str | None, typer.Option("--org", help="Only this organisation's.")] = None,
    as_json: Json = False,
) -> None:
    """List API keys; the keys themselves are not known to anybody but their holders."""

    async def verb() -> None:
        async with open_installation() as here:
            registry = await read_registry(here.kafka, here.settings.topics.registry)
        now = datetime.now(UTC)
        entries = [e for e in registry.all(ApiKey) if org_id in (None, e.org_id)]
        rows = [
            {
                "keyId": e.key_id,
                "orgId": e.org_id,
                "createdAt": e.created_at,
                "notAfter": e.not_after,
                "revokedAt": e.revoked_at,
                "live": is_live(e, now),
            }
            for e in entries
        ]
        if as_json:
            print_json(rows)
        else:
            print_table(
                ("key", "organisation", "created", "expires", "state"),
                [
                    (
                        r["keyId"],
                        r["orgId"],
                        r["createdAt"],
                        r["notAfter"] or "never",
                        "live" if r["live"] else "revoked" if r["revokedAt"] else "expired",
                    )
                    for r in rows
                ],
            )

    run_verb(verb)


@key.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `key list` shows it.")], as_json: Json = False
) -> None:
    """Revoke an API key: every replica refuses it within seconds."""

    async def verb() -> None:
        async with open_installation() as here:
            topic = here.settings.topics.registry
            entry = (await read_registry(here.kafka, topic)).api_key(key_id)
            if entry is None:
                raise ConfigurationError(
                    f"there is no key {key_id}; `lockstream key list` shows all"
                )
            if entry.revoked_at is None:
                entry = msgspec.structs.replace(entry, revoked_at=write_time(datetime.now(UTC)))
                await write_entries(here.kafka, topic, [entry])
        if as_json:
            print_json({"keyId": key_id, "revokedAt": entry.revoked_at})
        else:
            say(f"key {key_id} is revoked since {entry.revoked_at}")

    run_verb(verb)


@token.command("mint")
def mint(
    subject: Annotated[str, typer.Option("--sub", help="Whom the token is for.")],
    org_id: Annotated[
        str | None, typer.Option("--org", help="A service's organisation; without, it is a user.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 1h, 30m, 1d.")] = "1h",
    scope: Annotated[str | None, typer.Option(help="Its scope; without, it carries none.")] = None,
) -> None:
    """Print a token signed with the local key, whose JWKS `lockstream up` gives to the API."""
    try:
        settings = load_settings()
        signed = mint_token(
            settings, subject=subject, org_id=org_id, lifetime=read_duration(ttl), scope=scope
        )
    except LockstreamError as error:
        raise fail(error) from error
    print(signed, flush=True)
