"""While the read model is away: what memory can answer correctly is answered, the rest waits."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import NoPostgres, PostgresCluster
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def postgres() -> Iterator[PostgresCluster]:
    with tempfile.TemporaryDirectory(prefix="lockstream-postgres-") as folder:
        try:
            cluster = PostgresCluster(Path(folder))
            cluster.start()
        except NoPostgres as error:
            pytest.skip(str(error))
        yield cluster
        cluster.stop()


async def test_known_locks_are_served_from_memory_and_everything_is_caught_up_later(
    postgres: PostgresCluster, tmp_path: Path
) -> None:
    system = RunningSystem(tmp_path / "state", {"READ_MODEL_URL": postgres.url})
    try:
        system.start()
        system.lockstream("lock", "add", "--id", "7", "--org", "demo")
        caller = Caller(system.env)
        assert caller.use().json()["version"] == 2
        postgres.stop()

        async def noticed() -> bool:
            ready = caller.get("/readyz")
            return ready.status_code == 503 and "read model" in ready.text

        await eventually(noticed)
        # The API has seen this lock: its events are given versions as before.
        served = [caller.use() for _ in range(3)]
        assert [(a.status_code, a.json()["version"]) for a in served] == [
            (200, v) for v in (3, 4, 5)
        ]
        # Whether this one exists, only the read model could say.
        unknown = caller.use(lock_id=4711)
        assert unknown.status_code == 503
        assert unknown.headers["retry-after"]
        history = caller.get("/locks/123/events")
        assert history.status_code == 503
        postgres.start()

        async def caught_up() -> bool:
            shown = caller.get("/locks/123")
            return shown.status_code == 200 and shown.json()["version"] == 5

        await eventually(caught_up)
        assert caller.use(lock_id=4711).status_code == 404
        assert caller.use().json()["version"] == 6
        caller.close()
        system.lockstream("verify")
    finally:
        system.end()
