"""Shows how far the bench is: a bar over its parts on a terminal, a line for each measurement."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bench.measurement import Numbers, Parameter

SHOWN = 6


class Progress:
    def __init__(self, parts: int) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._bars = Bars(*columns, console=console, disable=not console.is_terminal)
        self._console = console
        self._task = self._bars.add_task("starting", total=parts)
        self._started_at = time.monotonic()

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def part(self, name: str) -> None:
        """Begins a part."""
        self._bars.update(self._task, description=name)
        self._console.print(f"{time.monotonic() - self._started_at:6.0f} s  {name}")

    def part_done(self) -> None:
        self._bars.advance(self._task)

    def measured(self, name: str, parameters: Mapping[str, Parameter], numbers: Numbers) -> None:
        said = ", ".join(f"{key} {value}" for key, value in parameters.items())
        found = ", ".join(f"{key} {value:,.4g}" for key, value in list(numbers.items())[:SHOWN])
        self._console.print(f"          {name} ({said}): {found}")
