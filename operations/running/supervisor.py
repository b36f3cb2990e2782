"""Keeps processes running: starts one that dies again, at once, then with growing pauses."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from operations.shared.console import say
from runtime.backoff import Backoff
from runtime.errors import AlreadySaid, ConfigurationError
from runtime.waiting import first_of

FIRST_PAUSE_S, SECOND_PAUSE_S = 0.0, 0.5
LONGEST_PAUSE_S = 10.0
STABLE_S = 30.0
STOP_S = 20.0
LOG_BYTES = 10_000_000
LOG_WATCH_S = 2.0
BAD_CONFIGURATION = 2


class Command(msgspec.Struct, frozen=True):
    """How a process is started. ``environment``: all of it; ``log``: where its output goes; None:
    where ours does."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None


class Supervised:
    """Keeps one process running until ``stop``. The process gets a session of its own, so that a
    terminal's Ctrl-C reaches only the supervisor. Its standard input is a pipe that closes when the
    supervisor dies."""

    def __init__(
        self,
        command: Command,
        on_start: Callable[[], None],
        *,
        longest_pause_s: float = LONGEST_PAUSE_S,
        tell: Callable[[str], None] = say,
    ) -> None:
        self._command = command
        self._on_start = on_start
        self._longest_pause_s = longest_pause_s
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Starts the process again whenever it dies; returns after ``stop``.

        Raises:
            ConfigurationError: it ended because of its configuration: to try again is no use.
        """
        if self._command.log is None:
            await self._keep_running()
            return
        keeping_small = asyncio.create_task(_watch_size(self._command.log))
        try:
            await self._keep_running()
        finally:
            keeping_small.cancel()

    async def _keep_running(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, self._longest_pause_s, SECOND_PAUSE_S)
        while not self._stopping.is_set():
            started_at = time.monotonic()
            async with self._starting:
                if self._stopping.is_set():
                    return
                process = await self._start()
            code = await process.wait()
            if self._stopping.is_set():
                return
            if code == BAD_CONFIGURATION:
                raise await asyncio.to_thread(_refusal, self._command)
            if time.monotonic() - started_at > STABLE_S:
                backoff.reset()
            pause = backoff.next()
            self._tell(
                f"{self._command.name} ended ({_describe(code)}), starting it again"
                + (f" in {pause:.1f} s" if pause else "")
                + (f"; see {self._command.log}" if self._command.log else "")
            )
            await first_of(self._stopping, timeout_s=pause)

    async def _start(self) -> asyncio.subprocess.Process:
        with contextlib.ExitStack() as opened:
            log = self._command.log
            output = opened.enter_context(log.open("ab")) if log is not None else None
            self._process = await asyncio.create_subprocess_exec(
                *self._command.arguments,
                env=dict(self._command.environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._on_start()
        return self._process

    async def stop(self) -> int | None:
        """Sends SIGTERM, and SIGKILL if the process does not end in 20 s. Returns what it ended
        with; None if it did not run."""
        process = await self._last_started()
        if process is None or process.returncode is not None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            self._tell(f"{self._command.name} did not stop in {STOP_S:.0f} s and is killed")
            await self.kill()
        return process.returncode

    async def kill(self) -> None:
        """Sends SIGKILL; the process is not started again."""
        process = await self._last_started()
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _last_started(self) -> asyncio.subprocess.Process | None:
        """Returns the last process there will be, once a start that is under way is done."""
        self._stopping.set()
        async with self._starting:
            return self._process


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _refusal(command: Command) -> ConfigurationError:
    """Returns why a process ended with its configuration: the last line that it wrote for people.
    Behind it there may be lines of others that it has started."""
    if command.log is None:
        return AlreadySaid(f"{command.name} ended for a reason that a restart does not mend")
    lines = command.log.read_text(errors="replace").splitlines()
    said = [line for line in lines if line.startswith("lockstream")] or lines
    return ConfigurationError(
        said[-1].removeprefix("lockstream: ") if said else f"see {command.log}"
    )


async def _watch_size(log: Path) -> None:
    while True:
        await asyncio.sleep(LOG_WATCH_S)
        await asyncio.to_thread(_keep_small, log)


def _keep_small(log: Path) -> None:
    """Cuts a log that has grown large, and keeps one older part. The process goes on appending to
    the same file: what it writes between the copy and the cut is lost."""
    # On a full disk, say: it is tried again.
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
