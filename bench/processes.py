"""Runs processes under measurement: pins them to CPUs, reads their CPU time and memory."""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

STOP_S = 20.0
LOOK_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_COMPILER = re.compile(r"\(C[12] Compiler")


class Finished(msgspec.Struct, frozen=True):
    """What became of a process: ``peak_mib`` is its greatest resident memory."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: bytes


class Process:
    """Runs until it is stopped. Its output goes to ``log``."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        cpus: Iterable[int] = (),
        folder: Path | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        self._log = log
        self.pid = self._process.pid
        pin(self.pid, cpus)

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until the process is ready.

        Raises:
            TimeoutError: it is not ready in time, or has ended; the text is the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run_process(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    cpus: Sequence[int] = (),
    stdin: bytes = b"",
    folder: Path | None = None,
) -> Finished:
    """Runs a process to its end.

    Raises:
        TimeoutError: it has not ended in ``seconds`` (it is killed), or its exit code is not 0.
    """
    with tempfile.TemporaryFile() as put, tempfile.TemporaryFile() as output:
        put.write(stdin)
        put.seek(0)
        started_at = time.perf_counter()
        process = subprocess.Popen(
            arguments, env=dict(environment), stdin=put, stdout=output, cwd=folder
        )
        pin(process.pid, cpus)
        try:
            peak = _watch(process.pid, started_at + seconds)
            # The only way to learn what one child has used, at its end.
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - started_at
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise TimeoutError(f"{arguments[2:4]} ended with {process.returncode}: {said[-500:]!r}")
    return Finished(took, used.ru_utime + used.ru_stime, peak, said)


def _watch(pid: int, deadline: float) -> float:
    """Waits for the end of a child, and tells its peak memory: ``ru_maxrss`` would never be less
    than ours, whose child it was born as.

    Raises:
        TimeoutError: it has not ended by then.
    """
    peak = 0.0
    ended = os.pidfd_open(pid)
    try:
        while not select.select([ended], [], [], LOOK_S)[0]:
            # Its memory is gone a moment before it has ended.
            with contextlib.suppress(StopIteration):
                peak = peak_mib(pid)
            if time.perf_counter() > deadline:
                raise TimeoutError(f"process {pid} did not end in time")
    finally:
        os.close(ended)
    return peak


def pin(pid: int, cpus: Iterable[int]) -> None:
    """Pins all threads of a process, and those they will start. No CPUs: anywhere."""
    wanted = set(cpus)
    if not wanted or not hasattr(os, "sched_setaffinity"):
        return
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), wanted)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Returns user and system time so far, of all threads."""
    return sum(_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids) / _TICKS


def compiler_seconds(pid: int) -> float:
    """Returns how much of that the compiling threads of a JVM (``C1 CompilerThread0``, …) used."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end while we look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = (task / "stat").read_text()
            ticks += _ticks(stat) if _COMPILER.search(stat) else 0
    return ticks / _TICKS


def _ticks(stat: str) -> int:
    """Reads CPU ticks from a ``stat`` file, proc(5): fields 14 and 15; field 2, the name, may hold
    spaces."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def peak_mib(pid: int) -> float:
    """Returns the greatest resident memory so far, MiB."""
    return _status_mib(pid, "VmHWM")


def _status_mib(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024
