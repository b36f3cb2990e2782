"""The system under measurement: ``lockstream up`` in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

READY_S = 120.0


class System:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "LOCKSTREAM_STATE_DIR": str(folder)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Raises:
            TimeoutError: it is not ready in two minutes.
        """
        output = self._folder / "up.log"
        self._folder.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lockstream.operations", "up", "--demo"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_S
        while "curl -X POST" not in output.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(output.read_text())
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)

    @property
    def env(self) -> dict[str, str]:
        lines = (self._folder / "demo.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def lockstream(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "lockstream.operations", *arguments],
            env=self._environment,
            check=True,
            stdin=subprocess.DEVNULL,
        )

    def resident_mib(self, role: str) -> float:
        """Resident memory of a role's process, MiB."""
        status = Path(f"/proc/{self.env[f'{role}_PID']}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
