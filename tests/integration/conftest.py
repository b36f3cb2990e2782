"""Real Kafka and real databases for the integration tests."""

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lockstream.eventlog.kafka import Kafka
from lockstream.eventlog.local_broker import LocalBroker
from lockstream.read_model.database import Database, read_model_url
from lockstream.read_model.store import ReadModel
from lockstream.runtime.ports import free_port
from lockstream.runtime.settings import Settings
from tests.docker import IMAGE, DockerUnusable, kafka_container
from tests.postgres import NoPostgres, throw_away_cluster

PARTITIONS = 3
BROKER = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def bootstrap_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A broker that is configured, else one in a container, else the embedded one: real Kafka
    each time. The summary of the run says which."""
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if configured:
        request.config.stash[BROKER] = "as configured"
        yield configured
        return
    with contextlib.ExitStack() as stack:
        try:
            servers = stack.enter_context(kafka_container())
            request.config.stash[BROKER] = f"{IMAGE} in a container"
        except DockerUnusable as error:
            request.config.stash[BROKER] = f"embedded, because of Docker: {error}"
            broker = LocalBroker.start(
                tmp_path_factory.mktemp("kafka") / "broker", port=free_port(0)
            )
            stack.callback(broker.stop)
            servers = broker.bootstrap_servers
        yield servers


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if BROKER in config.stash:
        terminalreporter.write_line(f"Kafka: {config.stash[BROKER]}")


@pytest.fixture
def settings(bootstrap_servers: str, tmp_path: Path) -> Settings:
    """Settings of an installation of the test's own: a fresh topic prefix, a fresh folder."""
    return Settings(
        kafka_bootstrap_servers=bootstrap_servers,
        topic_prefix=f"t{uuid.uuid4().hex[:10]}-",
        partitions=PARTITIONS,
        state_dir=tmp_path,
        session_timeout=3.0,
        # Roles run inside the tests' process here, which must not stand back for anybody.
        fanout_niceness=0,
    )


@pytest.fixture
def kafka(settings: Settings) -> Kafka:
    return Kafka(settings, "test")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """``LOCKSTREAM_TEST_POSTGRES_URL``, or a throw-away cluster of the server installed here."""
    configured = os.environ.get("LOCKSTREAM_TEST_POSTGRES_URL")
    if configured:
        yield configured
        return
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(throw_away_cluster())
        except NoPostgres as error:
            pytest.skip(str(error))
        yield url


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
