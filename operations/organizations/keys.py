"""``lockstream key …``: API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from eventlog.registry import Registry, edit_registry, read_registry
from operations.organizations.key_rotation import Rotation, plan_rotation
from operations.organizations.verbs import check_organization
from operations.shared.console import print_json, print_table, say, show
from operations.shared.durations import read_duration
from operations.shared.installation import Installation, open_installation, run_verb
from operations.shared.names import check_name
from runtime.errors import ConfigurationError
from schemas.api_keys import generate_key, hash_key, is_live
from schemas.primitives import write_time
from schemas.registry import ApiKey

key = typer.Typer(no_args_is_help=True, help="API keys.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
OrgId = Annotated[str, typer.Option("--org", help="The organisation's id.")]


@key.command("issue")
def issue_key(
    org_id: OrgId,
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid: 90d, 12h. Without: for ever.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also for an organisation that is not registered.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Issue an API key and print it, this once: only its hash is kept."""

    async def verb() -> None:
        async with open_installation() as here:
            entry, secret = await create_key(here, org_id, expires, force=force)
        if as_json:
            print_json({"keyId": entry.key_id, "key": secret, "notAfter": entry.not_after})
        else:
            show(secret)
            say(f"key {entry.key_id} of {org_id}; it is not shown again")

    run_verb(verb)


async def create_key(
    here: Installation, org_id: str, expires: str | None, *, force: bool = False
) -> tuple[ApiKey, str]:
    """The registry's entry and the key itself. ``force``: also for an organisation that is not
    registered.

    Raises:
        ConfigurationError: no such organisation.
    """
    check_name("--org", org_id)
    now = datetime.now(UTC)
    not_after = (
        write_time(now + read_duration("--expires", expires)) if expires is not None else None
    )
    entry, secret = _new_key(org_id, now, not_after)

    def edit(registry: Registry) -> Sequence[ApiKey]:
        if not force:
            check_organization(registry, org_id)
        return [entry]

    await edit_registry(here.kafka, here.settings.topics.registry, edit)
    return entry, secret


def _new_key(org_id: str, now: datetime, not_after: str | None) -> tuple[ApiKey, str]:
    key_id, secret = generate_key()
    entry = ApiKey(
        key_id=key_id,
        org_id=org_id,
        sha256=hash_key(secret),
        created_at=write_time(now),
        not_after=not_after,
    )
    return entry, secret


@key.command("rotate")
def rotate_key(
    org_id: Annotated[
        str | None, typer.Option("--org", help="The organisation: all its live keys end.")
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--id", help="Only this key ends; `key list` shows the ids.")
    ] = None,
    overlap: Annotated[
        str, typer.Option(help="How long the old keys stay valid beside the new one: 7d, 12h.")
    ] = "7d",
    expires: Annotated[
        str | None, typer.Option(help="How long the new key is valid. Without: for ever.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Issue a new API key, print it, this once, and let the old ones end after the overlap.

    A key that ends sooner by itself still does. To end a key at once, `key revoke` it."""

    async def verb() -> None:
        wish = Rotation(
            org_id=org_id,
            key_id=key_id,
            overlap=read_duration("--overlap", overlap),
            lifetime=read_duration("--expires", expires) if expires is not None else None,
        )
        wish.check()
        async with open_installation() as here:
            new, secret, ending = await _rotate(here, wish)
        if as_json:
            print_json(
                {
                    "keyId": new.key_id,
                    "key": secret,
                    "orgId": new.org_id,
                    "notAfter": new.not_after,
                    "ending": [{"keyId": e.key_id, "notAfter": e.not_after} for e in ending],
                }
            )
            return
        show(secret)
        say(f"key {new.key_id} of {new.org_id}; it is not shown again")
        for entry in ending:
            say(f"key {entry.key_id} is valid until {entry.not_after}")

    run_verb(verb)


async def _rotate(here: Installation, wish: Rotation) -> tuple[ApiKey, str, Sequence[ApiKey]]:
    """The new entry, the key itself, and the entries of those that end."""
    now = datetime.now(UTC)
    not_after = write_time(now + wish.lifetime) if wish.lifetime is not None else None
    # Whose it is shows when the registry is read.
    new, secret = _new_key(wish.org_id or "", now, not_after)

    def edit(registry: Registry) -> Sequence[ApiKey]:
        others = [e for e in registry.all(ApiKey) if e.key_id != new.key_id]
        ending = plan_rotation(wish, others, now)
        return [msgspec.structs.replace(new, org_id=ending[0].org_id), *ending]

    topic = here.settings.topics.registry
    written = await edit_registry(here.kafka, topic, edit)
    return written[0], secret, written[1:]


@key.command("list")
def list_keys(
    org_id: Annotated[str | None, typer.Option("--org", help="Only this organisation's.")] = None,
    as_json: Json = False,
) -> None:
    """List API keys; the keys themselves are not known to anybody but their holders.

    "Last used" is right to the minute."""

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
                "lastUsedAt": _last_used(registry, e),
                "live": is_live(e, now),
            }
            for e in entries
        ]
        if as_json:
            print_json(rows)
        else:
            print_table(
                ("key", "organisation", "created", "expires", "last used", "state"),
                [
                    (
                        r["keyId"],
                        r["orgId"],
                        r["createdAt"],
                        r["notAfter"] or "never",
                        r["lastUsedAt"] or "never",
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
            entry = await _revoke(here, key_id)
        if as_json:
            print_json({"keyId": key_id, "revokedAt": entry.revoked_at})
        else:
            say(f"key {key_id} is revoked since {entry.revoked_at}")

    run_verb(verb)


async def _revoke(here: Installation, key_id: str) -> ApiKey:
    now = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[ApiKey]:
        entry = registry.api_key(key_id)
        if entry is None:
            raise ConfigurationError(f"there is no key {key_id}; `lockstream key list` shows all")
        return [msgspec.structs.replace(entry, revoked_at=entry.revoked_at or now)]

    (entry,) = await edit_registry(here.kafka, here.settings.topics.registry, edit)
    return entry


def _last_used(registry: Registry, entry: ApiKey) -> str | None:
    use = registry.api_key_use(entry.key_id)
    return use.last_used_at if use is not None else None
