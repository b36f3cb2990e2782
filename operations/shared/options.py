"""Defines options that several verbs take."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Force = Annotated[
    bool, typer.Option("--force", help="Also for an organisation that is not registered.")
]
OnlyOrganization = Annotated[str | None, typer.Option("--org", help="Only this organisation's.")]
