"""``lockstream key …``: issues, lists, rotates and revokes API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from eventlog.registry import Registry
from operations.organizations.key_rotation import Rotation
from operations.organizations.keys import create_key, revoke_key, rotate_keys
from operations.shared.console import print_json, print_table, say, show
from operations.shared.durations import read_duration
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson, Force, OnlyOrganization
from schemas.api_keys import is_live
from schemas.registry import ApiKey

key = typer.Typer(no_args_is_help=True, help="Issue, rotate, list and revoke API keys.")


@key.command("issue")
def issue(
    org_id: Annotated[str, typer.Option("--org", help="The organisation's id.")],
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid: 90d, 12h. Without: for ever.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Issue an API key and print it. It is printed only once: Lockstream keeps only its hash."""
    entry, secret = run_on_installation(lambda here: create_key(here, org_id, expires, force=force))
    if as_json:
        print_json({"keyId": entry.key_id, "key": secret, "notAfter": entry.not_after})
    else:
        _show_key(entry, secret)


def _show_key(entry: ApiKey, secret: str) -> None:
    show(secret)
    say(f"key {entry.key_id} of {entry.org_id}; it is not shown again")


@key.command("rotate")
def rotate(
    org_id: Annotated[
        str | None, typer.Option("--org", help="Rotate all live keys of this organisation.")
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--id", help="Rotate only this key; `key list` shows the ids.")
    ] = None,
    overlap: Annotated[
        str, typer.Option(help="How long the old keys stay valid beside the new one: 7d, 12h.")
    ] = "7d",
    expires: Annotated[
        str | None, typer.Option(help="How long the new key is valid. Without: for ever.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a new API key, print it (only once), and let the old keys expire after the overlap.

    An old key that expires sooner still does. To end a key at once, use `key revoke`."""

    async def rotated(here: Installation) -> tuple[ApiKey, str, Sequence[ApiKey]]:
        wish = Rotation(
            org_id=org_id,
            key_id=key_id,
            overlap=read_duration("--overlap", overlap),
            lifetime=read_duration("--expires", expires) if expires is not None else None,
        )
        wish.check()
        return await rotate_keys(here, wish)

    new, secret, ending = run_on_installation(rotated)
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
    _show_key(new, secret)
    for entry in ending:
        say(f"key {entry.key_id} is valid until {entry.not_after}")


@key.command("list")
def list_keys(org_id: OnlyOrganization = None, as_json: AsJson = False) -> None:
    """List API keys: their ids, not the keys themselves, which only their holders know.

    "Last used" is exact to the minute."""
    registry = run_on_installation(Installation.read_registry)
    now = datetime.now(UTC)
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
        for e in registry.all(ApiKey)
        if org_id in (None, e.org_id)
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


def _last_used(registry: Registry, entry: ApiKey) -> str | None:
    use = registry.api_key_use(entry.key_id)
    return use.last_used_at if use is not None else None


@key.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Its id, as `key list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke an API key: every API process refuses it within seconds."""
    entry = run_on_installation(lambda here: revoke_key(here, key_id))
    if as_json:
        print_json({"keyId": key_id, "revokedAt": entry.revoked_at})
    else:
        say(f"key {key_id} is revoked since {entry.revoked_at}")
