"""Runs one installation under test: brokers, read model, replicas, load and watchers."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization

from chaos.brokers import Brokers
from chaos.clients import Callers
from chaos.databases import ReadModelUnderTest
from chaos.ports import PortRange
from chaos.replicas import ROLES, Fleet, Replica
from chaos.watcher import Watcher
from eventlog.kafka import Kafka
from operations.locks.creation import ensure_lock
from operations.locks.files import LockLine
from operations.organizations.keys import create_key
from operations.organizations.organizations import ensure_organization
from operations.organizations.signing import (
    AUDIENCE,
    ISSUER,
    KEY_ID,
    ensure_signing_key,
    local_issuer,
)
from operations.partners.credentials import Issued, issue_credential
from operations.partners.registration import create_partner
from operations.shared.installation import Installation
from read_model.opening import open_read_model
from runtime.issuers import write_issuers
from runtime.settings import Settings
from schemas.topics import partition_of

PARTITIONS = 12
REPLICAS = 2
LANES = 2
"""One for each replica; whoever is left has both."""
LOCKS_PER_PARTITION = 2
PARTNERS = {"acme-crm": "acme", "acme-bi": "acme", "globex-crm": "globex"}
ORGANIZATIONS = ("acme", "globex")
READY_S = 120.0
PROBE_ORG = "acme"


class Recovery(msgspec.Struct, frozen=True):
    """Seconds until commands on every partition were answered with their version again, and until
    partners got events on every partition again. None: not within the deadline."""

    commands_s: float | None
    delivery_s: float | None


class System:
    def __init__(
        self,
        folder: Path,
        brokers: Brokers,
        database: ReadModelUnderTest,
        ports: PortRange,
        rng: Random,
        patience: float,
    ) -> None:
        self.folder = folder
        self.brokers = brokers
        self.database = database
        self.fleet = Fleet(folder, ports)
        self.rng = rng
        self._patience = patience
        self.settings = Settings(
            kafka_bootstrap_servers=brokers.bootstrap_servers,
            read_model_url=database.url,
            state_dir=folder,
            partitions=PARTITIONS,
            lanes=LANES,
            replication_factor=brokers.replication,
            min_insync_replicas=max(1, brokers.replication - 1),
        )
        self.kafka = Kafka(self.settings, "lockstream-chaos")
        self.locks: dict[int, str] = _locks()
        self.callers: Callers | None = None
        self.watcher = Watcher({}, PARTITIONS)

    async def start(self) -> None:
        """Starts everything; returns when commands are answered on every partition."""
        ensure_signing_key(self.folder)
        for role in ROLES:
            for _ in range(REPLICAS):
                self.start_replica(self.fleet.add(role))
        keys, issued = await self._set_up()
        self.watcher = Watcher(self._readers(issued), PARTITIONS)
        self.callers = Callers(
            lambda: self.fleet.api_urls,
            {lock: self._credentials(keys[org]) for lock, org in self.locks.items()},
            self.rng,
            self._patience,
        )
        self.watcher.start()
        self.callers.start()
        recovery = await self.recovery(time.monotonic(), READY_S)
        if recovery.commands_s is None or recovery.delivery_s is None:
            raise TimeoutError(
                f"the system did not start within {READY_S:.0f} s; see {self.folder}"
            )

    async def stop_load(self) -> None:
        """Lets every command come to its end; everything then is delivered."""
        assert self.callers is not None
        await self.callers.stop()

    async def stop(self) -> None:
        await self.watcher.stop()
        await self.fleet.stop()

    # -- replicas --------------------------------------------------------------------------------

    def start_replica(self, replica: Replica) -> None:
        replica.start(
            {
                "KAFKA_BOOTSTRAP_SERVERS": self.brokers.servers_for(replica.role),
                "READ_MODEL_URL": self.database.url,
                "LOCKSTREAM_STATE_DIR": str(self.folder),
                "LOCKSTREAM_PARTITIONS": str(PARTITIONS),
                "LOCKSTREAM_LANES": str(LANES),
                "LOCKSTREAM_REPLICATION_FACTOR": str(self.settings.replication_factor),
                "LOCKSTREAM_MIN_INSYNC_REPLICAS": str(self.settings.min_insync_replicas),
                "LOCKSTREAM_JWT_ISSUERS": write_issuers([local_issuer(self.folder)]),
                "LOCKSTREAM_INSTANCE_ID": replica.name,
                f"LOCKSTREAM_{'API' if replica.role == 'api' else f'{replica.role}_HEALTH'.upper()}"
                "_PORT": str(replica.port),
            }
        )

    # -- recovery --------------------------------------------------------------------------------

    async def recovery(self, since: float, within_s: float) -> Recovery:
        """Measures how long after ``since`` everything works again."""
        assert self.callers is not None
        deadline = since + within_s
        probed = {
            partition_of(lock, PARTITIONS): lock
            for lock, org in self.locks.items()
            if org == PROBE_ORG
        }
        answered = await asyncio.gather(
            *(self.callers.until_answered(lock, deadline) for lock in probed.values())
        )
        times = [at for at in answered if at is not None]
        if len(times) < len(answered):
            return Recovery(None, None)
        commands_s = max(times) - since
        delivered = await asyncio.gather(
            *(
                self._delivered(partner, max(times), deadline)
                for partner, org in PARTNERS.items()
                if org == PROBE_ORG
            )
        )
        if not all(delivered):
            return Recovery(commands_s, None)
        return Recovery(commands_s, time.monotonic() - since)

    async def _delivered(self, partner: str, after: float, deadline: float) -> bool:
        """Tells whether the partner gets something new on every partition in time."""
        topic = self.settings.topics.partner_events(partner)
        while time.monotonic() < deadline:
            latest = self.watcher.latest(topic)
            if len(latest) == PARTITIONS and all(at > after for at in latest.values()):
                return True
            await asyncio.sleep(0.05)
        return False

    async def until_in_sync(self, within_s: float) -> None:
        """Returns when every replica of every partition has caught up with its leader.

        Raises:
            TimeoutError: one has not, within the time.
        """
        async with asyncio.timeout(within_s), self.kafka.admin() as admin:
            while True:
                if all(topic.in_sync for topic in await admin.describe_topics()):
                    return
                await asyncio.sleep(0.1)

    # -- what is there from the start --------------------------------------------------------------

    def _readers(self, issued: Mapping[str, Issued]) -> dict[str, Kafka]:
        """Says as whom each topic is read: a partner's as the partner itself."""
        readers = {self.settings.topics.lock_events: self.kafka}
        for partner, login in issued.items():
            own = msgspec.structs.replace(
                self.settings,
                kafka_bootstrap_servers=self.brokers.partner_servers,
                kafka_security_protocol="SASL_SSL",
                kafka_sasl_username=login.user,
                kafka_sasl_password=login.password,
                kafka_ssl_cafile=self.brokers.partner_ca,
            )
            readers[self.settings.topics.partner_events(partner)] = Kafka(own, login.user)
        return readers

    async def _set_up(self) -> tuple[dict[str, str], dict[str, Issued]]:
        """Makes the installation; returns an API key per organisation, and a user per partner."""
        read_model = open_read_model(self.settings)
        try:
            await read_model.prepare()
            here = Installation(self.settings, self.kafka, read_model)
            keys, issued = {}, {}
            for org in ORGANIZATIONS:
                await ensure_organization(here, org)
                _, keys[org] = await create_key(here, org, None)
            for partner, org in PARTNERS.items():
                await create_partner(here, partner, org, ("*",), "earliest")
                issued[partner] = await issue_credential(here, partner)
            async with asyncio.timeout(READY_S):
                lines = [LockLine(lock, org, None) for lock, org in self.locks.items()]
                await asyncio.gather(*(ensure_lock(here, line) for line in lines))
        finally:
            await read_model.close()
        return keys, issued

    def _credentials(self, api_key: str) -> Mapping[str, str]:
        """Makes tokens that stay good when a service's clock is an hour off, either way."""
        pem = (self.folder / "signing-key.pem").read_bytes()
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "chaos",
            "iat": int((now - timedelta(hours=3)).timestamp()),
            "exp": int((now + timedelta(hours=12)).timestamp()),
        }
        key = serialization.load_pem_private_key(pem, password=None)
        token = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": KEY_ID})  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {token}", "X-API-Key": api_key}

    async def lockstream(self, *arguments: str, timeout_s: float) -> tuple[int, str]:
        """Runs a verb of the command directly at the brokers; returns its exit code and output."""
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.brokers.bootstrap_servers,
            "READ_MODEL_URL": self.database.url,
            "LOCKSTREAM_STATE_DIR": str(self.folder),
            "LOCKSTREAM_PARTITIONS": str(PARTITIONS),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "operations", *arguments,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, f"no result after {timeout_s:.0f} s"
        return process.returncode or 0, output.decode(errors="replace")


def _locks() -> dict[int, str]:
    """Chooses some locks on every partition of one organisation, and a few of another."""
    chosen: dict[int, str] = {}
    count = dict.fromkeys(range(PARTITIONS), 0)
    lock = 0
    while min(count.values()) < LOCKS_PER_PARTITION:
        lock += 1
        partition = partition_of(lock, PARTITIONS)
        if count[partition] < LOCKS_PER_PARTITION:
            count[partition] += 1
            chosen[lock] = "acme"
    chosen.update({lock + number: "globex" for number in (1, 2, 3)})
    return chosen
