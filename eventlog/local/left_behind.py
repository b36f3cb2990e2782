"""Finds and stops a broker that an earlier run left behind in a folder. Two brokers on
one folder would spoil it."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from eventlog.local.kafka_download import Progress
from runtime.errors import BrokerUnavailable

TERMINATE_S = 20.0
KILL_S = 10.0
_PS_S = 10.0
_POLL_S = 0.02


def marker(folder: Path) -> str:
    """Returns an argument that does nothing, by which a process shows itself to be this folder's
    broker."""
    return f"-Dlockstream.broker={folder}"


def left_behind(folder: Path) -> int | None:
    """Returns the pid of a broker of this folder that nobody supervises any more. A pid file alone
    proves nothing: the number may belong to another process by now."""
    try:
        pid = int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if marker(folder) in _arguments(pid) else None


def _arguments(pid: int) -> list[str]:
    """Returns a process's arguments; none if it has ended, or has not been reaped."""
    proc = Path("/proc")
    if not (proc / "self").exists():  # not Linux
        listed = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)],
            capture_output=True,
            timeout=_PS_S,
            check=False,
        )
        return os.fsdecode(listed.stdout).split()
    try:
        return os.fsdecode((proc / str(pid) / "cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def has_let_go(pid: int) -> bool:
    """Returns whether no thread of it runs, so that its files and ports are free; its parent may
    not have reaped it yet.

    A process loses its arguments before its files. Always true where there is no /proc.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True
    for thread in threads:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            if state not in ("Z", "X"):
                return False
    return True


def stop_left_behind(folder: Path, progress: Progress) -> None:
    """Stops the broker that an earlier run left behind in this folder, if there is one.

    Raises:
        BrokerUnavailable: it does not end.
    """
    pid = left_behind(folder)
    if pid is None:
        return
    progress(f"stopping the broker that an earlier run left behind (pid {pid})")
    for kind, patience_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, KILL_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if left_behind(folder) is None and has_let_go(pid):
                (folder / "pid").unlink(missing_ok=True)
                return
            time.sleep(_POLL_S)
    raise BrokerUnavailable(f"the broker that an earlier run left behind (pid {pid}) won't stop")
