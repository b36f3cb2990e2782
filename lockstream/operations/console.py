"""What a person or a script sees: results on stdout, everything else on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Advance = Callable[[int], None]
PLAIN_LINE_EVERY_S = 5.0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(highlight=False, soft_wrap=True).print(table)


@contextmanager
def progress_bar(doing: str, total: int, unit: str) -> Iterator[Advance]:
    """A bar on a terminal, plain lines elsewhere; both on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(doing, total, console) as advance:
            yield advance
        return
    counter = _PlainCounter(doing, total, unit)
    yield counter.advance
    say(f"{doing}: {counter.done:,} {unit}")


class _PlainCounter:
    def __init__(self, doing: str, total: int, unit: str) -> None:
        self._doing, self._total, self._unit = doing, total, unit
        self._last_said = time.monotonic()
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self._last_said >= PLAIN_LINE_EVERY_S:
            self._last_said = time.monotonic()
            say(f"{self._doing}: {self.done:,} of {self._total:,} {self._unit}")


@contextmanager
def _bar(doing: str, total: int, console: Console) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(doing, total=total)
        yield lambda count: bars.advance(task, count)
