"""How a verb ends: 2 where a person can mend it, 1 where it may be tried again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operations.shared.configuration import fail
from runtime.errors import (
    ConfigurationError,
    KafkaRefused,
    KafkaUnavailable,
    LockstreamError,
    PartitionsChanged,
    ReadModelUnavailable,
    StreamViolation,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (KafkaRefused("x"), 2),
        (PartitionsChanged("x"), 2),
        (KafkaUnavailable("x"), 1),
        (ReadModelUnavailable("x"), 1),
        (StreamViolation("x"), 1),
    ],
)
def test_an_exit_code_tells_who_can_mend_it(
    error: LockstreamError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error).exit_code == code
    assert capsys.readouterr().err == "lockstream: x\n"


OS_ERROR = """
import sys
from operations import command

def make_command():
    def run(prog_name):
        open(sys.argv[1])
    return run

command.make_command = make_command
from operations.__main__ import main
main()
"""


def test_a_file_that_can_not_be_used_ends_a_verb_with_2_and_its_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OS_ERROR, str(tmp_path / "gone")],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = f"lockstream: {tmp_path / 'gone'}: No such file or directory\n"
    assert (done.returncode, done.stderr) == (2, told)
