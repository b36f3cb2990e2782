"""Real Kafka and real databases for the integration tests."""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lockstream.eventlog.kafka import Kafka
from lockstream.eventlog.local_broker import LocalBroker
from lockstream.read_model.database import Database, read_model_url
from lockstream.read_model.store import ReadModel
from lockstream.runtime.settings import Settings
from tests.docker import docker_answers, kafka_container

PARTITIONS = 3


@pytest.fixture(scope="session")
def bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that is configured, else one in a container, else the embedded one: real Kafka
    each time."""
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if configured:
        yield configured
        return
    if docker_answers():
        with kafka_container() as servers:
            yield servers
        return
    broker = LocalBroker.start(tmp_path_factory.mktemp("kafka") / "broker")
    yield broker.bootstrap_servers
    broker.stop()


@pytest.fixture
def settings(bootstrap_servers: str, tmp_path: Path) -> Settings:
    """Settings of an installation of the test's own: a fresh topic prefix, a fresh folder."""
    return Settings(
        kafka_bootstrap_servers=bootstrap_servers,
        topic_prefix=f"t{uuid.uuid4().hex[:10]}-",
        partitions=PARTITIONS,
        state_dir=tmp_path,
        session_timeout=3.0,
    )


@pytest.fixture
def kafka(settings: Settings) -> Kafka:
    return Kafka(settings, "test")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``LOCKSTREAM_TEST_POSTGRES_URL``, or a throw-away cluster of the server installed here."""
    configured = os.environ.get("LOCKSTREAM_TEST_POSTGRES_URL")
    if configured:
        yield configured
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if shutil.which("sh") else []
    if not binaries:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    yield from _throw_away_cluster(binaries[-1], tmp_path_factory.mktemp("postgres"))


def _throw_away_cluster(binaries: Path, folder: Path) -> Iterator[str]:
    as_owner: list[str] = []
    if os.geteuid() == 0:
        # The server refuses to run as root.
        shutil.chown(folder, "postgres", "postgres")
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = str(folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run([*as_owner, *command], check=True, capture_output=True, timeout=60)

    run(str(binaries / "initdb"), "-D", data, "-U", "lockstream", "--auth=trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    control = [str(binaries / "pg_ctl"), "-D", data, "-w"]
    run(*control, "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://lockstream@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
async def read_model(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[ReadModel]:
    """An empty read model: every test that takes it runs on both databases."""
    url = ""
    if request.param == "postgresql":
        url = await _fresh_database(request.getfixturevalue("postgres_url"))
    model = open_read_model(settings, url)
    await model.prepare()
    yield model
    await model.close()


def open_read_model(settings: Settings, url: str = "") -> ReadModel:
    import msgspec

    chosen = msgspec.structs.replace(settings, read_model_url=url)
    return ReadModel(Database(read_model_url(chosen), 5.0), settings.partitions)


async def _fresh_database(server: str) -> str:
    import asyncpg

    name = f"t{uuid.uuid4().hex[:10]}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server.rsplit("/", 1)[0] + f"/{name}"
