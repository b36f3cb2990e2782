"""Runs the services: some replicas of each role, each a supervised process of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from chaos import steps
from chaos.ports import PortRange
from operations.running.supervisor import Command, Supervised

ROLES = ("api", "projector", "fanout")
DELIVERING = ("projector", "fanout")
"""The roles that write in transactions."""
MOST_MEMORY_MIB = 512
"""Of any process, whatever is broken (RELIABILITY.md)."""


class Replica:
    """One process of a role, started again when it dies unless it is kept down."""

    def __init__(self, role: str, number: int, port: int, folder: Path) -> None:
        self.role = role
        self.name = f"{role}-{number}"
        self.port = port
        self.orders = folder / "orders" / self.name
        self.clock = folder / "clocks" / self.name
        self._log = folder / "logs" / f"{self.name}.log"
        self._supervised: Supervised | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._supervised is not None

    def start(self, environment: Mapping[str, str]) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = Command(
            name=self.name,
            arguments=(
                sys.executable, "-m", "chaos.steps", str(self.orders), str(self.clock),
                self.role, "--supervised",
            ),
            environment={**os.environ, **environment},
            log=self._log,
        )  # fmt: skip
        # Faults come thick: pauses between starts would measure the suite, not the service.
        self._supervised = Supervised(
            command, lambda: None, longest_pause_s=0.0, tell=lambda line: None
        )
        self._running = asyncio.create_task(self._supervised.run())

    async def stop(self) -> None:
        """Sends SIGTERM; the process stays down."""
        if self._supervised is not None and self._running is not None:
            supervised, running = self._supervised, self._running
            self._supervised = self._running = None
            await supervised.stop()
            await running

    async def kill_for_good(self) -> None:
        """Sends SIGKILL; the process stays down."""
        if self._supervised is not None and self._running is not None:
            supervised, running = self._supervised, self._running
            self._supervised = self._running = None
            await supervised.kill()
            await running

    def signal(self, kind: signal.Signals) -> int:
        """Sends a signal; returns the pid that it went to."""
        assert self._supervised is not None
        pid = self._supervised.pid
        assert pid is not None
        os.kill(pid, kind)
        return pid

    @property
    def pid(self) -> int | None:
        return self._supervised.pid if self._supervised is not None else None

    def memory_exceeded(self) -> str | None:
        """Says what the process has taken beyond what any may take; None if nothing."""
        peak = self.peak_memory_mib() or 0
        return f"{self.name} has taken {peak} MiB" if peak > MOST_MEMORY_MIB else None

    def peak_memory_mib(self) -> int | None:
        """The peak memory of the replica's process so far, MiB; None where it is not known."""
        if self.pid is None:
            return None
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) // 1024 if found is not None else None


class Fleet:
    """All replicas of a run. ``environment``: what a replica's process gets."""

    def __init__(self, folder: Path, ports: PortRange) -> None:
        self._folder = folder
        self._ports = ports
        self.replicas: dict[str, list[Replica]] = {role: [] for role in ROLES}

    def add(self, role: str) -> Replica:
        """Adds a further replica, not started yet."""
        members = self.replicas[role]
        replica = Replica(role, len(members) + 1, self._ports.take(), self._folder)
        members.append(replica)
        return replica

    def running(self, role: str) -> list[Replica]:
        return [replica for replica in self.replicas[role] if replica.runs]

    def spare(self, role: str) -> Replica:
        """Returns a replica that does not run."""
        for replica in self.replicas[role]:
            if not replica.runs:
                return replica
        return self.add(role)

    @property
    def api_urls(self) -> list[str]:
        return [replica.url for replica in self.running("api")]

    def withdraw_orders(self) -> None:
        for members in self.replicas.values():
            for replica in members:
                steps.withdraw(replica.orders)

    async def stop(self) -> None:
        everyone = [r for members in self.replicas.values() for r in members if r.runs]
        for replica in everyone:
            # One that is stopped can't hear SIGTERM.
            replica.signal(signal.SIGCONT)
        await asyncio.gather(*(replica.stop() for replica in everyone))
