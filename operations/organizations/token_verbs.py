"""``lockstream token …``: mints tokens with the local signing key."""

from typing import Annotated

import typer

from operations.organizations.organizations import check_organization
from operations.organizations.signing import mint_token
from operations.shared.configuration import fail, load_settings
from operations.shared.console import show
from operations.shared.durations import read_duration
from operations.shared.installation import Installation, run_on_installation
from runtime.errors import LockstreamError

token = typer.Typer(no_args_is_help=True, help="Sign tokens with the local key.")


@token.command("mint")
def mint(
    subject: Annotated[str, typer.Option("--sub", help="Whom the token is for.")],
    org_id: Annotated[
        str | None,
        typer.Option("--org", help="The organisation of a service. Without: the token of a user."),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 1h, 30m, 1d.")] = "1h",
    scope: Annotated[str | None, typer.Option(help="Its scope. Without: it carries none.")] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Do not check that the organisation is registered; needs no broker."
        ),
    ] = False,
) -> None:
    """Print a token signed with the local key. An API that `lockstream up` has started accepts
    it, unless LOCKSTREAM_JWT_ISSUERS is set and --demo was not given."""
    if org_id is not None and not force:
        run_on_installation(lambda here: _check(here, org_id))
    try:
        signed = mint_token(
            load_settings(),
            subject=subject,
            org_id=org_id,
            lifetime=read_duration("--ttl", ttl),
            scope=scope,
        )
    except LockstreamError as error:
        raise fail(error) from error
    show(signed)


async def _check(here: Installation, org_id: str) -> None:
    check_organization(await here.read_registry(), org_id)
