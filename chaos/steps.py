"""Runs a role with a hook at every step of the exactly-once path.

When a file names a step, the process ends or stops there, by a signal to itself. Its clock can be
stepped too. The services themselves carry none of this:

    python -m chaos.steps <folder of orders> <file of the clock> <arguments of `lockstream`>
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from chaos.clock import SteppedClock
from eventlog.stage.lane_work import LaneWork
from eventlog.stage.lane_writing import LaneWriting
from eventlog.transactional_writer import TransactionalWriter
from operations.__main__ import main
from read_model.store import ReadModel

Act = Literal["kill", "stop"]
Place = Callable[[str], None]
STEPS: Mapping[str, tuple[type, str]] = {
    "decide": (LaneWork, "_decide"),
    "begin": (TransactionalWriter, "_begin"),
    "send": (TransactionalWriter, "_send"),
    "flush": (TransactionalWriter, "_flush"),
    "commit": (TransactionalWriter, "_commit"),
    "tell": (LaneWriting, "_tell"),
    "apply": (ReadModel, "apply"),
}
"""The steps of a batch, from what was fetched to the read model: each with its method."""
PROJECTOR_ONLY = ("apply",)


def places(role: str) -> list[str]:
    """Returns where this role can be hit: before and after each of its steps."""
    steps = [step for step in STEPS if role == "projector" or step not in PROJECTOR_ONLY]
    return [f"{when}-{step}" for step in steps for when in ("before", "after")]


def order(folder: Path, act: Act, place: str) -> None:
    """Orders a signal for the next process that reads this folder and comes to ``place``."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "order.new"
    new.write_text(f"{act} {place}")
    new.rename(folder / "order")


def is_pending(folder: Path) -> bool:
    return (folder / "order").exists()


def withdraw(folder: Path) -> None:
    (folder / "order").unlink(missing_ok=True)


def _obey(folder: Path, place: str) -> None:
    try:
        act, wanted = (folder / "order").read_text().split()
    except FileNotFoundError:
        return
    if wanted != place:
        return
    try:
        (folder / "order").rename(folder / "obeyed")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL if act == "kill" else signal.SIGSTOP)


def _hooked(step: str, method: Callable[..., Awaitable[Any]], obey: Place) -> Any:
    async def hooked(self: object, *arguments: object) -> Any:
        obey(f"before-{step}")
        result = await method(self, *arguments)
        obey(f"after-{step}")
        return result

    return hooked


def install_hooks(obey: Place) -> None:
    for step, (owner, method) in STEPS.items():
        setattr(owner, method, _hooked(step, getattr(owner, method), obey))


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    SteppedClock(Path(sys.argv.pop(1))).install()
    install_hooks(lambda place: _obey(folder, place))
    main()
