"""How a role ends: its exit code tells whether it is worth another start."""

import signal
import subprocess
import sys

import pytest

RUNS = """
import asyncio, os, signal, sys
from runtime.errors import ConfigurationError, KafkaRefused, StreamViolation
from runtime.process import run_role
async def role(stop):
    {body}
sys.exit(run_role("name", role))
"""


def ended(body: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", RUNS.format(body=body)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("error", ["ConfigurationError", "KafkaRefused"])
@pytest.mark.parametrize("wrapped", ["{}", 'ExceptionGroup("", [ExceptionGroup("", [{}])])'])
def test_what_a_restart_does_not_mend_ends_with_2_and_one_line(error: str, wrapped: str) -> None:
    raised = wrapped.format(f'{error}("SETTING: no")')
    assert ended(f"raise {raised}") == (2, "lockstream name: SETTING: no\n")


@pytest.mark.parametrize("error", ['StreamViolation("broken")', "ZeroDivisionError()"])
def test_anything_else_ends_with_1_and_its_reason_in_the_log(error: str) -> None:
    code, said = ended(f'raise ExceptionGroup("", [{error}])')
    assert code == 1
    assert "name stops: " in said
    assert error.strip('()"').partition('("')[-1] in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_an_orderly_stop(number: signal.Signals) -> None:
    body = (
        f'os.kill(os.getpid(), {int(number)}); await stop.wait(); print("drained", file=sys.stderr)'
    )
    assert ended(body) == (0, "drained\n")
