"""The whole system, started as ``make run`` starts it, in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values

READY_S = 120.0
STOP_S = 60.0


class RunningSystem:
    """``env``: what ``demo.env`` says now; ``env_file``: where it says it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment, "LOCKSTREAM_STATE_DIR": str(folder)}
        self.folder = folder
        self.env_file = folder / "demo.env"
        self.output = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> float:
        """Starts everything; returns how many seconds it took."""
        begun = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "operations", "up", "--demo", *options],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait(lambda: "curl -X POST" in self.said)
        return time.monotonic() - begun

    def stop(self, number: int = signal.SIGINT) -> int:
        """As Ctrl-C does. Returns the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_S)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def env(self) -> dict[str, str]:
        return {name: value or "" for name, value in dotenv_values(self.env_file).items()}

    def kill(self, role: str) -> None:
        """SIGKILL to one role; returns when the supervisor has started it again."""
        before = self.env[f"{role}_PID"]
        os.kill(int(before), signal.SIGKILL)
        self._wait(lambda: self.env.get(f"{role}_PID", before) not in ("", before))

    def wait_until_ready(self) -> None:
        page = self.env["BASE_URL"] + "/readyz"
        self._wait(lambda: _answers(page))

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_S
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.fail(f"`lockstream up` ended:\n{self.said}\n{self._logs()}")
            if time.monotonic() > deadline:
                pytest.fail(f"not in time:\n{self.said}\n{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        files = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(file.read_text()[-2000:] for file in files)

    def lockstream(self, *arguments: str, timeout_s: float = 60) -> str:
        """Runs a verb of the command; returns what it printed."""
        done = self.try_lockstream(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_lockstream(
        self, *arguments: str, timeout_s: float = 60, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "operations", *arguments],
            env={**self._environment, **variables},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def _answers(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """One system for all tests that leave it as they found it. Patient: what they are about is the
    answer with a version, however busy the machine is."""
    patient = {"LOCKSTREAM_ANSWER_TIMEOUT": "4"}
    system = RunningSystem(tmp_path_factory.mktemp("system") / "state", patient)
    system.start()
    yield system
    system.end()


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[RunningSystem]:
    """A system that the test may stop, kill and spoil."""
    system = RunningSystem(tmp_path / "state", {})
    yield system
    system.end()
