"""Real Kafka and real databases for the integration tests."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventlog.kafka import Kafka
from read_model import opening
from read_model.store import ReadModel
from runtime.settings import Settings
from support.postgres import NoPostgres
from tests.side_by_side import KAFKA, POSTGRES, SERVERS, given

PARTITIONS = 3


@pytest.fixture(scope="session")
def bootstrap_servers(request: pytest.FixtureRequest) -> str:
    return given(request.config, KAFKA) or request.config.stash[SERVERS].kafka()


@pytest.fixture
def settings(bootstrap_servers: str, tmp_path: Path) -> Settings:
    """Settings of an installation of the test's own: a fresh topic prefix, a fresh folder."""
    return Settings(
        kafka_bootstrap_servers=bootstrap_servers,
        topic_prefix=f"t{uuid.uuid4().hex[:10]}-",
        partitions=PARTITIONS,
        lanes=2,
        state_dir=tmp_path,
        session_timeout=3.0,
        # Roles run inside the tests' process here, which must not stand back for anybody.
        fanout_niceness=0,
    )


@pytest.fixture
def kafka(settings: Settings) -> Kafka:
    return Kafka(settings, "test")


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    try:
        return given(request.config, POSTGRES) or request.config.stash[SERVERS].postgres()
    except NoPostgres as error:
        pytest.skip(str(error))


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

    return opening.open_read_model(msgspec.structs.replace(settings, read_model_url=url))


async def _fresh_database(server: str) -> str:
    import asyncpg

    name = f"t{uuid.uuid4().hex[:10]}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return server.rsplit("/", 1)[0] + f"/{name}"
