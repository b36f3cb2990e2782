"""Runs the read model of a run, and breaks it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from support.postgres import PostgresCluster

SQLITE_MIB = 768
CHUNK = 1 << 20


class ReadModelUnderTest:
    """``url``: as the services get it."""

    url: str

    async def close(self) -> None:
        """Leaves nothing behind."""


class SqliteUnderTest(ReadModelUnderTest):
    """A file, on a small file system of its own where one can be had (as root, on Linux).
    ``is_small``: whether it can be filled up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "database"
        self._folder.mkdir(parents=True)
        self.is_small = _mount(self._folder)
        self.file = self._folder / "read-model.sqlite"
        self.url = f"sqlite:///{self.file}"

    def delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.file}{suffix}").unlink(missing_ok=True)

    async def hold_locked(self, seconds: float) -> None:
        """Plays another writer that keeps the file to itself."""
        lock = sqlite3.connect(
            self.file, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            await asyncio.to_thread(lock.execute, "BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
            lock.execute("ROLLBACK")
        finally:
            lock.close()

    def fill(self) -> None:
        """Fills the file system: not a byte more can be written."""
        with (self._folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (CHUNK, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)):
                        pass

    def empty(self) -> None:
        (self._folder / "ballast").unlink(missing_ok=True)

    async def close(self) -> None:
        if self.is_small:
            unmount = ["umount", "--lazy", str(self._folder)]
            await asyncio.to_thread(subprocess.run, unmount, check=True, timeout=10)


def _mount(folder: Path) -> bool:
    options = ["mount", "-t", "tmpfs", "-o", f"size={SQLITE_MIB}m", "tmpfs", str(folder)]
    try:
        subprocess.run(options, check=True, timeout=10, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class PostgresUnderTest(ReadModelUnderTest):
    """A server of its own. Durable: what a crash may lose is not what is tested here."""

    def __init__(self, folder: Path, port: int) -> None:
        """Sets up a server that is not started yet.

        Raises:
            NoPostgres: no server is installed, or it can't be set up.
        """
        # The server does not run as root, and may not be able to enter our folder.
        self._folder = Path(tempfile.mkdtemp(prefix="lockstream-chaos-postgres-"))
        self._cluster = PostgresCluster(self._folder, port=port)
        self._cluster.start()
        self.url = self._cluster.url

    async def stop(self) -> None:
        await asyncio.to_thread(self._cluster.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._cluster.start)

    def pause(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, kind: signal.Signals) -> None:
        """Signals the postmaster and all its backends."""
        postmaster = self._cluster.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (*map(int, children), postmaster):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)

    async def close(self) -> None:
        await self.stop()
        shutil.rmtree(self._folder)
