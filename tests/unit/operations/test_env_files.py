"""``demo.env``: a shell that sources it and python-dotenv see the same."""

import subprocess
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.running.env_files import env_lines
from runtime.errors import ConfigurationError


def sourced(file: Path, name: str) -> str:
    """As the plainest shell sees it."""
    script = f'set -eu; . "$1"; printf %s "${name}"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(file)], capture_output=True, check=True, timeout=20
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain-1.2/3:4,5",
        "/home/a b & c/ü",
        "/it's here",
        '/say "hello"',
        '/it\'s "here"',
        "/price $5 `date` $HOME",
        "/a#b ;c|d(e)*[f]?~!",
        "\\back\\slash",
        "ends in \\",
        "two \\\\ of them",
        " blanks around ",
        "postgresql://u:p%20w@[::1]:5432/db?sslmode=require&application_name=x",
        "#comment",
        "a=b=c",
    ],
)
def test_shells_and_dotenv_read_what_was_written(tmp_path: Path, value: str) -> None:
    file = tmp_path / "demo.env"
    file.write_text(env_lines({"BEFORE": "x y", "VALUE": value, "AFTER": "z"}), encoding="utf-8")
    assert dotenv_values(file) == {"BEFORE": "x y", "VALUE": value, "AFTER": "z"}
    assert sourced(file, "VALUE") == value
    assert sourced(file, "AFTER") == "z"


@pytest.mark.parametrize("value", ["it's $5", "${HOME}", "`'`", "a\nb", "\\\\ $x"])
def test_what_no_spelling_can_hold_for_both_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="VALUE"):
        env_lines({"VALUE": value})


@settings(max_examples=60, deadline=None)
@given(st.text("aü '\"\\$`{}#&=", max_size=8))
def test_any_value_is_read_by_both_as_it_is_or_refused(value: str) -> None:
    try:
        text = env_lines({"VALUE": value})
    except ConfigurationError:
        return
    script = f'{text}printf %s "$VALUE"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, timeout=20)
    assert (done.stdout.decode(), dotenv_values(stream=StringIO(text))["VALUE"]) == (value, value)
