"""Puts all verbs of the ``lockstream`` command together: the map of verbs."""

import inspect
import re
from importlib.metadata import version
from typing import Annotated

import msgspec
import typer

from operations.access.verbs import acl
from operations.audit.verbs import verify
from operations.locks.verbs import lock
from operations.organizations.key_verbs import key
from operations.organizations.token_verbs import token
from operations.organizations.verbs import org
from operations.parked.verbs import parked
from operations.partners.verbs import partner
from operations.rebuild import rebuild
from operations.replay.verbs import replay
from operations.running.services import api, broker, fanout, projector
from operations.running.status import status
from operations.running.up import up
from operations.schemas import schemas
from operations.shared.console import print_json, print_table, show
from operations.shared.options import AsJson
from runtime.settings import Settings

HELP = (
    "Lockstream records that a temporary web key opened a lock, and delivers that fact to every "
    "partner that is entitled to it: once, in order, with nothing lost. "
    "`lockstream settings` lists the environment variables."
)
RUNNING, OPERATING, STREAM = "Running it", "Operating it", "The event stream"


def settings(
    as_json: AsJson = False,
) -> None:
    """List every setting: the environment variable, its default, what it means."""
    rows = [
        (field.encode_name, "" if field.default is None else str(field.default), _meaning(field))
        for field in msgspec.structs.fields(Settings)
    ]
    if as_json:
        print_json([{"variable": v, "default": d, "meaning": m} for v, d, m in rows])
    else:
        print_table(("variable", "default", "meaning"), rows)


def _meaning(field: msgspec.structs.FieldInfo) -> str:
    for meta in getattr(field.type, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description is not None:
            return meta.description
    return ""


def show_version(wanted: bool) -> None:
    if wanted:
        show(f"lockstream {version('lockstream')}")
        raise typer.Exit


def root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Takes the options of the command itself; its help text is ``HELP``."""


def make_command() -> typer.Typer:
    command = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    command.callback(help=HELP)(root)
    for verb in (up, api, projector, fanout, broker):
        command.command(rich_help_panel=RUNNING)(verb)
    for group, name in (
        (org, "org"),
        (lock, "lock"),
        (key, "key"),
        (token, "token"),
        (partner, "partner"),
        (parked, "parked"),
        (acl, "acl"),
        (schemas, "schemas"),
    ):
        command.add_typer(group, name=name, rich_help_panel=OPERATING)
    command.command(rich_help_panel=OPERATING)(status)
    command.command(rich_help_panel=OPERATING)(settings)
    command.command(rich_help_panel=STREAM)(replay)
    command.command(rich_help_panel=STREAM)(rebuild)
    command.command(rich_help_panel=STREAM)(verify)
    _reflow(command)
    return command


def _reflow(command: typer.Typer) -> None:
    """Joins the lines of each paragraph of a help text, so that they end where the terminal
    does."""
    for verb in command.registered_commands:
        text = inspect.getdoc(verb.callback) or ""
        verb.help = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    for group in command.registered_groups:
        assert group.typer_instance is not None
        _reflow(group.typer_instance)
