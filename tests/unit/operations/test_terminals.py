"""What is printed comes out whole, wherever it goes."""

import itertools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version

import pytest

COMMAND = (sys.executable, "-m", "operations")
LONG = "x" * 300
TABLE = f"""
from operations.shared.console import print_table
print_table(("id", "[what]"), [("{LONG}", "[/red]:smile: a\\nb \\x1b[31m ü ✓")])
"""
DOCUMENT = r"""
from operations.__main__ import bear_any_encoding
from operations.shared.console import print_json, print_table, say, show
bear_any_encoding()
print_json({"name": "\u00fc \u2713 \u2603"})
show("\u00fc \u2713 \u2603")
print_table(("\u00fc",), [("\u2603",)])
say("\u00fc \u2713 \u2603")
"""
ENCODINGS: list[Mapping[str, str]] = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        arguments,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )


def on_terminal(*arguments: str, **environment: str) -> str:
    """What a program writes on a terminal."""
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            arguments, env={"PATH": os.environ["PATH"], **environment}, stdout=theirs
        )
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:
            # That is how a terminal says that nobody has it open any more.
            pass
        assert running.wait(30) == 0
    finally:
        os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("environment", ENCODINGS)
def test_help_tables_and_json_come_out_on_any_encoding(environment: Mapping[str, str]) -> None:
    done = run(sys.executable, "-c", DOCUMENT, **environment)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    first = done.stdout.decode(encoding).splitlines()[0]
    assert json.loads(first) == {"name": "ü ✓ ☃"}
    for arguments in (("--help",), ("lock", "import", "--help"), ("settings",)):
        done = run(*COMMAND, *arguments, **environment)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(encoding)


@pytest.mark.parametrize("columns", ["20", "80", "abc"])
def test_off_a_terminal_no_table_is_cut_or_wrapped(columns: str) -> None:
    done = run(sys.executable, "-c", TABLE, COLUMNS=columns, PYTHONIOENCODING="utf-8")
    header, row = done.stdout.decode().splitlines()
    assert header.split() == ["id", "[what]"]
    assert row.startswith(LONG)
    assert "[/red]:smile: a\\u000ab \\u001b[31m ü ✓" in row


def test_a_terminal_has_its_width_and_its_say_in_colours() -> None:
    shown = on_terminal(sys.executable, "-c", TABLE, COLUMNS="40", TERM="xterm")
    assert "\x1b[1m" in shown
    assert LONG not in shown
    plain = on_terminal(sys.executable, "-c", TABLE, TERM="dumb")
    assert "\x1b" not in plain
    for environment in ({"NO_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}):
        assert "\x1b[3" not in on_terminal(*COMMAND, "--help", **environment)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_help_text_fills_its_lines_whatever_the_width(width: int) -> None:
    done = run(*COMMAND, "replay", "--help", COLUMNS=str(width), PYTHONIOENCODING="utf-8")
    lines = [line.strip() for line in done.stdout.decode().partition("╭")[0].splitlines()]
    assert "" in lines[lines.index("") + 1 :]
    for line, following in itertools.pairwise(lines):
        # Else the first word of the next line would have gone into this one.
        if line and following:
            assert len(f" {line} {following.split()[0]} ") > width


def test_the_root_says_its_version() -> None:
    done = run(*COMMAND, "--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"lockstream {version('lockstream')}\n")


@pytest.mark.parametrize("arguments", [("settings",), ("settings", "--json"), ("--version",)])
def test_a_full_or_closed_stdout_is_no_traceback(arguments: tuple[str, ...]) -> None:
    script = '"$@" >/dev/full; echo "$?" >&2; "$@" >&-; (trap "" PIPE; "$@" | true)'
    done = run("bash", "-c", script, "bash", *COMMAND, *arguments)
    said = done.stderr.decode().splitlines()
    assert said == ["lockstream: stdout can't be written: No space left on device", "2"]
