"""``lockstream acl …``: prints what our own programs need on a cluster that asks who is there, or
allows it."""

import shlex
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from eventlog.acls import Acl
from operations.access.needs import ROLES, VERBS, acls_of
from operations.shared.configuration import load_settings
from operations.shared.console import print_json, say, show
from operations.shared.installation import Installation, error_lines, run_on_installation
from operations.shared.options import AsJson
from runtime.errors import ConfigurationError
from runtime.settings import Settings

acl = typer.Typer(
    no_args_is_help=True,
    help="Say what each role and each group of verbs may do in Kafka, and allow it.",
)

OPERATOR = "operator"
DEFAULT_USERS = {role: f"lockstream-{role}" for role in ROLES} | {OPERATOR: "lockstream-operator"}
Programs = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        metavar="|".join((*ROLES, OPERATOR, *VERBS)),
        help="Only for this role or these verbs (may be repeated); operator: all verbs.",
    ),
]
Principal = Annotated[
    str | None,
    typer.Option(
        help="Whom to allow it: User:NAME. Without, User:lockstream-api, -projector, -fanout and "
        "-operator, one for each."
    ),
]


@acl.command("print")
def print_acls(
    programs: Programs = None, principal: Principal = None, as_json: AsJson = False
) -> None:
    """Print the rules: as command lines of Kafka's own kafka-acls.sh, or as JSON.

    Needs no broker. They hold for the topic prefix that the settings name."""
    with error_lines():
        settings = load_settings()
        rules = _rules(settings, programs, principal)
        if as_json:
            print_json(msgspec.to_builtins(rules))
            return
        for line in kafka_acls_lines(rules, settings.kafka_bootstrap_servers or "HOST:PORT"):
            show(line)


@acl.command("apply")
def apply_acls(
    programs: Programs = None, principal: Principal = None, as_json: AsJson = False
) -> None:
    """Add the rules to the cluster. Those that are there stay; to run it again changes nothing."""

    async def applied(here: Installation) -> tuple[Sequence[Acl], int]:
        rules = _rules(here.settings, programs, principal)
        async with here.kafka.access_admin() as access:
            there = await access.acls()
            missing = [rule for rule in rules if rule not in there]
            await access.allow(missing)
        return rules, len(missing)

    rules, added = run_on_installation(applied)
    if as_json:
        print_json({"rules": len(rules), "added": added})
    else:
        say(f"{len(rules)} rules hold, {added} of them are new")


def _rules(settings: Settings, programs: Sequence[str] | None, principal: str | None) -> list[Acl]:
    """Returns the rules for these programs, or for all.

    Raises:
        ConfigurationError: a program or a principal is none.
    """
    names = (*ROLES, OPERATOR, *VERBS)
    wanted = programs or [*ROLES, OPERATOR]
    for name in wanted:
        if name not in names:
            raise ConfigurationError(f"--for: {name!r} is none of {', '.join(names)}")
    if principal is not None and not principal.startswith("User:"):
        raise ConfigurationError(f"--principal: {principal!r} is none; write User:NAME")
    rules = [
        rule
        for name in wanted
        for program in (VERBS if name == OPERATOR else (name,))
        for rule in acls_of(settings.topics, program, principal or _principal_for(name))
    ]
    return sorted(set(rules))


def _principal_for(name: str) -> str:
    return f"User:{DEFAULT_USERS.get(name, DEFAULT_USERS[OPERATOR])}"


def kafka_acls_lines(rules: Sequence[Acl], servers: str) -> list[str]:
    """Returns a command line for each resource and principal."""
    together: dict[tuple[str, str, str, bool], list[str]] = {}
    for rule in rules:
        key = rule.principal, rule.resource, rule.name, rule.prefixed
        together.setdefault(key, []).append(rule.operation)
    lines = []
    for (principal, resource, name, prefixed), operations in together.items():
        option = {"cluster": "--cluster"}.get(resource, f"--{resource} {shlex.quote(name)}")
        lines.append(
            f"kafka-acls.sh --bootstrap-server {servers} --command-config admin.properties --add "
            f"--allow-principal {shlex.quote(principal)} "
            + " ".join(f"--operation {_camel(operation)}" for operation in operations)
            + f" {option}"
            + (" --resource-pattern-type prefixed" if prefixed else "")
        )
    return lines


def _camel(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("-"))
