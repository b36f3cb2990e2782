"""Starts ``python -m chaos``: see `make chaos`."""

import asyncio
import logging
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from chaos.campaign import Campaign, Plan
from chaos.report import Report, as_markdown
from operations.shared.console import say


def run(
    seed: Annotated[int | None, typer.Option(help="Repeats a schedule.")] = None,
    minutes: Annotated[float, typer.Option(min=0.5, help="Of faults, all parts together.")] = 20.0,
    to: Annotated[Path | None, typer.Option(help="Where the report goes, as Markdown.")] = None,
    only: Annotated[
        str, typer.Option(help="Only faults with this in their name, again and again.")
    ] = "",
    patience: Annotated[
        float, typer.Option(min=1.0, help="How many times its bound a recovery may take.")
    ] = 1.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep logs and data even if all is well.")
    ] = False,
) -> None:
    """Break whole systems under load, on a seeded schedule, and audit what is left. Exit code 1 if
    a promise was broken or something did not recover in time."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Brokers that are restarted all the time never get warm: compiling for speed costs more here
    # than it brings.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    chosen = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="lockstream-chaos-"))
    say(f"seed {chosen}, {minutes:g} minutes, in {folder}")
    campaign = Campaign(folder, Plan(chosen, minutes, only, patience), say)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            report = runner.run(_stoppable(campaign))
        except asyncio.CancelledError:
            say("stopped before its end: no verdict")
            raise typer.Exit(143) from None
    text = as_markdown(report)
    print(text)
    if to is not None:
        to.write_text(text)
        to.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if report.broken:
        say(f"repeat it: make chaos SEED={chosen} MINUTES={minutes:g}; logs and data: {folder}")
        raise typer.Exit(1)
    if not keep:
        shutil.rmtree(folder)


async def _stoppable(campaign: Campaign) -> Report:
    """Lets SIGTERM end everything that was started, as Ctrl-C does."""
    task = asyncio.ensure_future(campaign.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(run)
    command()
