"""Runs Lockstream under measurement: an installation of its own on the bench's broker. Its roles
are started one by one, as many replicas as wanted."""

import asyncio
import os
import re
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.load import Plan
from bench.processes import Finished, Process, run_process
from bench.trees import HERE, Tree
from eventlog.kafka import Kafka
from operations.organizations.keys import create_key
from operations.organizations.organizations import ensure_organization
from operations.organizations.signing import ensure_signing_key, local_issuer, mint_token
from operations.partners.registration import create_partner
from operations.running.probes import ask
from operations.shared.installation import Installation
from read_model.opening import open_read_model
from runtime.issuers import write_issuers
from runtime.ports import free_port
from runtime.settings import Settings, variable_of
from schemas.topic_configs import partner_topic

ORG = "bench"
READY_S = 90.0
COMMAND_S = 60.0
T = TypeVar("T")


class Replica(msgspec.Struct, frozen=True):
    """A running role. ``page``: where its health and metrics are."""

    role: str
    page: str
    process: Process


class Roles:
    """Runs the roles of one installation. ``prefix`` names its topics: several installations share
    one broker. ``tree``: whose code runs; another commit's is driven by its commands."""

    def __init__(
        self,
        folder: Path,
        servers: str,
        prefix: str,
        *,
        partitions: int = 12,
        read_model: str = "",
        environment: dict[str, str] | None = None,
        tree: Tree = HERE,
    ) -> None:
        folder.mkdir(parents=True)
        ensure_signing_key(folder)
        self.folder = folder
        self.settings = Settings(
            kafka_bootstrap_servers=servers,
            topic_prefix=prefix,
            partitions=partitions,
            state_dir=folder,
            read_model_url=read_model or f"sqlite:///{folder / 'read-model.db'}",
            jwt_issuers=write_issuers([local_issuer(folder)]),
        )
        chosen = [
            *("kafka_bootstrap_servers", "topic_prefix", "partitions", "state_dir"),
            *("read_model_url", "jwt_issuers"),
        ]
        self._tree = tree
        self.commit = tree.commit
        self._environment = tree.environment(
            {
                **os.environ,
                **{variable_of(name): str(getattr(self.settings, name)) for name in chosen},
                **(environment or {}),
            }
        )
        self._running: list[Replica] = []
        self.partners: list[str] = []
        self._key = self._register()
        lifetime = timedelta(hours=23)
        self._token = mint_token(self.settings, subject="bench", org_id=None, lifetime=lifetime)

    def _register(self) -> str:
        """Registers the organisation; returns an API key of it."""
        if self._tree is not HERE:
            self.command("org", "add", "--id", ORG, seconds=COMMAND_S)
            issued = self.command("key", "issue", "--org", ORG, seconds=COMMAND_S)
            return issued.output.decode().strip()

        async def register(here: Installation) -> str:
            await ensure_organization(here, ORG)
            _, key = await create_key(here, ORG, None)
            return key

        return self.with_installation(register)

    def with_installation(self, work: Callable[[Installation], Awaitable[T]]) -> T:
        """Runs what a verb of this tree does, without the verb's start."""

        async def run() -> T:
            settings = self.settings
            read_model = open_read_model(settings)
            try:
                return await work(Installation(settings, Kafka(settings, "bench"), read_model))
            finally:
                await read_model.close()

        return asyncio.run(run())

    def add_partners(self, count: int, org_id: str = ORG, begin: str = "now") -> list[str]:
        """Adds partners of one organisation, which get its events from ``begin`` on."""
        names = [f"p{len(self.partners) + n}" for n in range(count)]
        self.partners += names
        if self._tree is not HERE:
            for name in names:
                adding = ("partner", "add", "--id", name, "--org", org_id, "--from", begin)
                self.command(*adding, seconds=COMMAND_S)
            return names

        async def add(here: Installation) -> None:
            for name in names:
                await create_partner(here, name, org_id, ("*",), begin)

        self.with_installation(add)
        return names

    def partner_topic(self, partner: str) -> str:
        return partner_topic(self.settings.topics, partner).name

    # -- roles ---------------------------------------------------------------------------------

    def start(self, role: str, cpus: Sequence[int] = ()) -> Replica:
        """Starts one more replica of ``api``, ``projector`` or ``fanout``; see
        ``wait_until_ready``."""
        port = free_port(0)
        number = sum(1 for replica in self._running if replica.role == role)
        variable = "api_port" if role == "api" else f"{role}_health_port"
        environment = {**self._environment, variable_of(variable): str(port)}
        process = Process(
            [sys.executable, "-m", "operations", role],
            environment,
            self.folder / "logs" / f"{role}-{number}.log",
            cpus,
            self._tree.folder,
        )
        replica = Replica(role, f"http://127.0.0.1:{port}", process)
        self._running.append(replica)
        return replica

    def wait_until_ready(self) -> None:
        """Waits until a role is ready.

        Raises:
            TimeoutError: a role is not ready in time.
        """
        for replica in self._running:
            replica.process.wait_until(lambda page=replica.page: ask(page).ready, READY_S)  # type: ignore[misc]

    def start_all(self, measured: Sequence[int] = (), beside: Sequence[int] = ()) -> None:
        """Starts one replica of each role; returns once all are ready.

        Raises:
            TimeoutError: a role is not ready in time.
        """
        self.start("projector", beside)
        self.start("fanout", beside)
        self.start("api", measured)
        self.wait_until_ready()

    def running(self, role: str) -> list[Replica]:
        return [replica for replica in self._running if replica.role == role]

    @property
    def pids(self) -> list[int]:
        return [replica.process.pid for replica in self._running]

    def stop(self, *roles: str) -> None:
        """Stops the roles of this name; all without a name."""
        for replica in reversed(list(self._running)):
            if not roles or replica.role in roles:
                self._running.remove(replica)
                replica.process.stop()

    def command(self, *arguments: str, seconds: float) -> Finished:
        """Runs one verb of the ``lockstream`` command to its end.

        Raises:
            TimeoutError: it has not ended in time, or has failed.
        """
        command = [sys.executable, "-m", "operations", *arguments]
        return run_process(command, self._environment, seconds, folder=self._tree.folder)

    # -- load ----------------------------------------------------------------------------------

    @property
    def credentials(self) -> tuple[str, str]:
        """Returns a token and an API key that are good for all of the bench's locks."""
        return self._token, self._key

    def plan(self, locks: Sequence[int], seconds: float) -> Plan:
        """Plans a closed loop with one request in flight, to the first API replica."""
        host, _, port = self.running("api")[0].page.removeprefix("http://").partition(":")
        return Plan(host, int(port), *self.credentials, tuple(locks), seconds)


def metric(page: str, name: str, **labels: str) -> float:
    """Returns the sum of a metric's samples that have these labels; 0.0 if there is none."""
    with urllib.request.urlopen(f"{page}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    total = 0.0
    for line in text.splitlines():
        found = re.match(rf"{re.escape(name)}(?:\{{(.*)\}})? (\S+)", line)
        if found is None:
            continue
        sample = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1) or ""))
        if all(sample.get(key) == value for key, value in labels.items()):
            total += float(found.group(2))
    return total
