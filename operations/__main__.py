"""Starts the ``lockstream`` command: a role with few imports, or one of all verbs."""

import os
import sys

import typer

from operations.running.services import ROLES
from operations.shared.console import bear_any_encoding, forget_stdout, say


def main() -> None:
    bear_any_encoding()
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        # Without the imports of all other verbs a role is back a second sooner after a crash.
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        for verb in ROLES.values():
            command.command()(verb)
        command(prog_name="lockstream")
    else:
        _run_verb()


def _run_verb() -> None:
    """Runs any verb; an error of a file that the user has named ends it with one sentence."""
    from operations.command import make_command

    try:
        make_command()(prog_name="lockstream")
    except OSError as error:
        forget_stdout()
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        say(f"lockstream: {where}{error.strerror or error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
