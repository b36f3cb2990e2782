"""``lockstream partner credentials …`` and ``partner show``: lets a partner log in to Kafka, and
says what it needs for that."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from command_api.topic_descriptions import describe_for_partner
from operations.partners.client_files import MECHANISM, NO_PASSWORD, Access, ClientKind, client_file
from operations.partners.credentials import (
    Issued,
    UserState,
    credential_states,
    issue_credential,
    revoke_credentials,
)
from operations.partners.entries import live_partner
from operations.partners.listener_tls import ALWAYS_NAMED, ensure_certificates
from operations.shared.console import print_json, print_table, say, show
from operations.shared.installation import Installation, error_lines, run_on_installation
from operations.shared.options import AsJson
from runtime.errors import ConfigurationError
from runtime.files import keep_private
from runtime.settings import Settings
from schemas.registry import Partner

credentials = typer.Typer(
    no_args_is_help=True, help="Issue, list and revoke the users under which a partner logs in."
)

PASSWORD_VARIABLE = "PARTNER_PASSWORD"
PartnerOption = Annotated[str, typer.Option("--id", help="The partner's id.")]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--client-config",
        metavar="|".join(get_args(ClientKind)),
        help="Print the settings of such a client instead, as a file that it takes as it is.",
    ),
]


@credentials.command("issue")
def issue(
    partner_id: PartnerOption, client_config: KindOption = None, as_json: AsJson = False
) -> None:
    """Make a user for a partner, beside those that it has, and print its password, this once.

    To change a password without a gap: issue another user, let the partner move to it, revoke the
    first."""
    kind = _read_kind(client_config)

    async def issued(here: Installation) -> tuple[Settings, Issued]:
        if kind is not None:  # before there is a password that nobody would see
            _access(here.settings, partner_id, "", "")
        return here.settings, await issue_credential(here, partner_id)

    settings, one = run_on_installation(issued)
    if kind is not None:
        show(client_file(kind, _access(settings, partner_id, one.user, one.password)).rstrip())
    elif as_json:
        print_json({"id": partner_id, "user": one.user, "password": one.password})
    else:
        say(f"partner {partner_id} may log in as {one.user}; its password is shown this once:")
        show(one.password)


@credentials.command("list")
def list_credentials(partner_id: PartnerOption, as_json: AsJson = False) -> None:
    """List a partner's users, revoked ones too, and how they stand. Nobody can see a password."""
    states = run_on_installation(lambda here: credential_states(here, partner_id))
    if as_json:
        print_json([_shown(one) for one in states])
    else:
        print_table(
            ("user", "issued", "revoked", "state"),
            [
                (
                    one.credential.user,
                    one.credential.issued_at,
                    one.credential.revoked_at or "",
                    one.state,
                )
                for one in states
            ],
        )


def _shown(one: UserState) -> dict[str, object]:
    return {
        "user": one.credential.user,
        "issuedAt": one.credential.issued_at,
        "revokedAt": one.credential.revoked_at,
        "state": one.state,
    }


@credentials.command("revoke")
def revoke(
    partner_id: PartnerOption,
    user: Annotated[
        str | None, typer.Option(help="The user, as `credentials list` has it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of the partner's users.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a user what it may do, and its password. Whoever is connected under it is refused at
    the next request."""

    async def revoked(here: Installation) -> Sequence[str]:
        if (user is None) != every:
            raise ConfigurationError("name the --user to revoke, or --all")
        return await revoke_credentials(here, partner_id, user)

    users = run_on_installation(revoked)
    if as_json:
        print_json({"id": partner_id, "revoked": list(users)})
    else:
        say(f"revoked: {', '.join(users) or 'nobody, there was no user'}")


def make_certificates(
    folder: Annotated[Path, typer.Option(help="Where they are kept; made if it is not there.")],
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address that partners connect to.")
    ] = None,
) -> None:
    """Make a CA and, signed by it, the certificate of Kafka's listener for partners.

    What is there and still good stays. `server.pem` (key and chain) is for the brokers, `ca.pem`
    for the partners; `ca-key.pem` is for nobody."""
    with error_lines():
        keep_private()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            tls = ensure_certificates(folder.absolute(), [*ALWAYS_NAMED, *(host or ())])
        except OSError as error:
            raise ConfigurationError(f"--folder: {folder}: {error.strerror}") from error
        say(f"{tls.keystore} is for the brokers, {tls.ca} for the partners")


def show_partner(
    partner_id: PartnerOption,
    client_config: KindOption = None,
    user: Annotated[
        str | None, typer.Option(help="With --client-config: this user; otherwise the latest.")
    ] = None,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print an AsyncAPI document for this partner.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that a partner needs to read its events.

    With --client-config, the password is taken from the variable PARTNER_PASSWORD, if it is set."""
    kind = _read_kind(client_config)

    async def shown(here: Installation) -> tuple[Settings, Partner, str]:
        entry = live_partner(await here.read_registry(), partner_id)
        if kind is None:
            return here.settings, entry, ""
        password = os.environ.get(PASSWORD_VARIABLE, NO_PASSWORD)
        access = _access(here.settings, partner_id, _user_of(entry, user), password)
        return here.settings, entry, client_file(kind, access)

    settings, entry, file = run_on_installation(shown)
    if file:
        show(file.rstrip())
        return
    if asyncapi:
        print_json(describe_for_partner(settings, partner_id))
        return
    facts = _facts(settings, entry)
    if as_json:
        print_json(facts)
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            text = ", ".join(value) if isinstance(value, list) else str(value)
            show(f"{name:<{width}}  {text}")
        if not entry.users:
            say(f"it has no user; `lockstream partner credentials issue --id {partner_id}` is next")


def _facts(settings: Settings, entry: Partner) -> dict[str, object]:
    topics = settings.topics
    return {
        "id": entry.id,
        "orgId": entry.org_id,
        "types": list(entry.types),
        "status": entry.status,
        "topic": topics.partner_events(entry.id),
        "partitions": settings.partitions,
        "bootstrapServers": settings.partner_bootstrap_servers
        or "not known; set LOCKSTREAM_PARTNER_BOOTSTRAP_SERVERS",
        "ca": settings.partner_ca or "a public one",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": MECHANISM,
        "users": list(entry.users),
        "groups": [topics.group(entry.id), f"{topics.group(entry.id)}.*"],
        "isolationLevel": "read_committed",
        "retention": f"{(entry.retention_ms or settings.retentions.partner_ms) // 1000} s",
        "maxBytesPerSecond": entry.max_rate or settings.partner_max_rate or None,
    }


def _user_of(entry: Partner, wanted: str | None) -> str:
    if wanted is not None and wanted not in entry.users:
        raise ConfigurationError(f"--user: partner {entry.id} has no user {wanted}")
    if not entry.users:
        raise ConfigurationError(
            f"partner {entry.id} has no user; `lockstream partner credentials issue --id "
            f"{entry.id}` makes one"
        )
    return wanted or entry.users[-1]


def _access(settings: Settings, partner_id: str, user: str, password: str) -> Access:
    if not settings.partner_bootstrap_servers:
        raise ConfigurationError(
            "LOCKSTREAM_PARTNER_BOOTSTRAP_SERVERS is not set: it is not known what partners "
            "connect to"
        )
    return Access(
        servers=settings.partner_bootstrap_servers,
        user=user,
        password=password,
        ca=_read_ca(settings.partner_ca),
        topic=settings.topics.partner_events(partner_id),
        group=settings.topics.group(partner_id),
    )


def _read_ca(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"LOCKSTREAM_PARTNER_CA: {file}: {error}") from error


def _read_kind(text: str | None) -> ClientKind | None:
    kinds = get_args(ClientKind)
    if text is None:
        return None
    for kind in kinds:
        if kind == text:
            found: ClientKind = kind
            return found
    raise typer.BadParameter(
        f"{text!r} is none of {', '.join(kinds)}", param_hint="--client-config"
    )
