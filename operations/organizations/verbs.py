"""``lockstream org …``: registers, lists and removes organisations."""

from typing import Annotated

import typer

from operations.organizations.organizations import ensure_organization, live_keys, partners_of
from operations.organizations.removal import remove_organization
from operations.shared.console import print_json, print_table, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from schemas.registry import Organization

org = typer.Typer(no_args_is_help=True, help="Register, list and remove organisations.")


@org.command("add")
def add_organization(
    org_id: Annotated[str, typer.Option("--id", help="Its id: letters, digits, '.', '_', '-'.")],
    as_json: AsJson = False,
) -> None:
    """Register an organisation. Registering it again changes nothing."""
    created = run_on_installation(lambda here: ensure_organization(here, org_id))
    if as_json:
        print_json({"id": org_id, "created": created})
    else:
        say(f"organisation {org_id} {'registered' if created else 'was registered before'}")


@org.command("list")
def list_organizations(as_json: AsJson = False) -> None:
    """List organisations, with how many live keys and partners each has."""
    registry = run_on_installation(Installation.read_registry)
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
    org_id: Annotated[str, typer.Option("--id", help="Its id, as `org list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Remove an organisation from the registry. It must have no locks, live keys or partners."""
    run_on_installation(lambda here: remove_organization(here, org_id))
    if as_json:
        print_json({"id": org_id, "removed": True})
    else:
        say(f"organisation {org_id} is removed")
