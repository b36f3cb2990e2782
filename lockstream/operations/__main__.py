"""The ``lockstream`` command."""

import sys

import typer

from lockstream.operations.services import ROLES


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        # Without the imports of all other verbs a role is back a second sooner after a crash.
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        for verb in ROLES.values():
            command.command()(verb)
    else:
        from lockstream.operations.command import make_command

        command = make_command()
    command(prog_name="lockstream")


if __name__ == "__main__":
    main()
