"""Writes what a person or a script sees: results on stdout, everything else on stderr."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from schemas.primitives import printable

Advance = Callable[[int], None]
PLAIN_LINE_EVERY_S = 5.0
NO_LIMIT = 100_000
"""Columns of what is no terminal: nothing is cut or wrapped for it."""


def bear_any_encoding() -> None:
    """Replaces characters that an encoding doesn't have: decoration must never stop a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(line: str) -> None:
    # Without this, print would take stdout where stderr is closed.
    if sys.stderr is not None:
        # Nobody who reads it is no reason not to do what was asked for.
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)


@contextmanager
def stdout_errors() -> Iterator[None]:
    """Ends the command in silence if the reader has gone, with one line if the disk is full."""
    try:
        yield
    except BrokenPipeError as error:
        forget_stdout()
        raise typer.Exit(0) from error
    except OSError as error:
        forget_stdout()
        say(f"lockstream: stdout can't be written: {error.strerror}")
        raise typer.Exit(2) from error


def forget_stdout() -> None:
    """Discards what is left in stdout, which Python would fail to flush when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def show(line: str) -> None:
    """Writes a result on a line of its own."""
    with stdout_errors():
        print(line, flush=True)


def print_json(document: object) -> None:
    show(_encodable(json.dumps(document, ensure_ascii=False), document))


def _encodable(text: str, document: object) -> str:
    """Returns the text, or the same with escapes if stdout has no such characters."""
    try:
        text.encode((sys.stdout and sys.stdout.encoding) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document)
    return text


def print_pieces(pieces: Iterable[str]) -> None:
    """Writes a result that is too large to be made at once."""
    with stdout_errors():
        for piece in pieces:
            print(piece, end="")
        print(end="", flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not on_terminal)
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    console = Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        width=None if on_terminal else NO_LIMIT,
    )
    with stdout_errors():
        console.print(table)


@contextmanager
def progress_bar(doing: str, total: int, unit: str) -> Iterator[Advance]:
    """Shows a bar on a terminal, plain lines elsewhere; both on stderr."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
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
