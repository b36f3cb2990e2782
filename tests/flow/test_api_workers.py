"""Several processes of the API on one port."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runtime.ports import free_port, is_free
from tests.flow.client import BODY, Caller
from tests.flow.conftest import RunningSystem
from tests.flow.openings import Openings
from tests.flow.replica import Replica, is_ready, second_api
from tests.jwks_server import wait_until

pytestmark = pytest.mark.timeout(240)
WAIT_S = 60.0
TWO = ("--workers", "2")


def two_free_ports() -> int:
    """Returns a free port that is followed by another one."""
    while True:
        first = free_port(0)
        if is_free(first + 1):
            return first


def workers_of(parent: int) -> set[int]:
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        return set()
    return {int(pid) for pid in children.split()}


def runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def started_at(page: str) -> str:
    """Returns what tells one worker's figures from another's. Each call is a new connection."""
    lines = httpx.get(f"{page}/metrics", timeout=5).text.splitlines()
    return next(line for line in lines if line.startswith("process_start_time_seconds "))


class Workers:
    """Two workers beside a running system."""

    def __init__(self, replica: Replica, health_port: int) -> None:
        self.url = replica.url
        self.log = replica.log
        self.process = replica.process
        self.pages = [f"http://127.0.0.1:{health_port + number}" for number in range(2)]

    @property
    def pids(self) -> set[int]:
        return workers_of(self.process.pid)

    @property
    def all_ready(self) -> bool:
        return len(self.pids) == 2 and all(is_ready(page) for page in self.pages)

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.all_ready, WAIT_S)

    def answering(self, most: int = 100) -> set[str]:
        """Returns who answers on the shared port: both, or whoever did so a hundred times."""
        seen: set[str] = set()
        for _ in range(most):
            seen.add(started_at(self.url))
            if len(seen) == 2:
                break
        return seen


@pytest.fixture
def workers(running_system: RunningSystem) -> Iterator[Workers]:
    port = two_free_ports()
    health = {"LOCKSTREAM_API_HEALTH_PORT": str(port)}
    with second_api(running_system, *TWO, **health) as replica:
        found = Workers(replica, port)
        found.wait_until_ready()
        yield found


def test_workers_share_a_port_and_each_has_a_health_page_of_its_own(
    workers: Workers, running_system: RunningSystem
) -> None:
    each = [started_at(page) for page in workers.pages]
    assert len(set(each)) == 2
    assert workers.answering() == set(each)
    caller = Caller({**running_system.env, "BASE_URL": workers.url})
    assert caller.use().status_code == 200
    caller.close()
    said = workers.log.read_text()
    assert '"worker":0' in said
    assert '"worker":1' in said


def test_a_worker_that_is_killed_comes_back_while_the_others_answer(workers: Workers) -> None:
    before = workers.pids
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: not runs(min(before)))
    for _ in range(5):
        # Its socket is closed by the kernel as it ends, so none waits for it.
        assert httpx.get(f"{workers.url}/livez", timeout=5).status_code == 200
    workers.wait_until_ready()
    assert len(workers.pids & before) == 1
    assert len(workers.answering()) == 2
    assert "api worker" in workers.log.read_text()


async def test_workers_that_stop_in_turn_leave_no_request_without_an_answer(
    workers: Workers, running_system: RunningSystem
) -> None:
    openings = Openings({**running_system.env, "BASE_URL": workers.url}, open_every=2)
    calling = asyncio.create_task(openings.run())
    try:
        for _ in range(4):
            await openings.until_further(50)
            await asyncio.to_thread(restart_one, workers)
        await openings.until_further(50)
    finally:
        openings.finish()
        await calling
    assert openings.cut == []
    assert openings.refused == 0


def restart_one(workers: Workers) -> None:
    stopped = min(workers.pids)
    os.kill(stopped, signal.SIGTERM)
    wait_until(lambda: not runs(stopped), WAIT_S)
    workers.wait_until_ready()


async def test_the_parent_that_is_told_to_stop_ends_when_all_workers_have_drained(
    workers: Workers, running_system: RunningSystem
) -> None:
    openings = Openings({**running_system.env, "BASE_URL": workers.url}, open_every=2)
    calling = asyncio.create_task(openings.run())
    try:
        await openings.until_further(50)
        pids = await asyncio.to_thread(lambda: workers.pids)
        workers.process.terminate()
        assert await asyncio.to_thread(workers.process.wait, WAIT_S) == 0
        assert not any(runs(pid) for pid in pids)
    finally:
        openings.finish()
        await calling
    assert openings.cut == []


def test_no_worker_outlives_a_parent_that_is_killed(workers: Workers) -> None:
    pids = workers.pids
    workers.process.kill()
    try:
        wait_until(lambda: not any(runs(pid) for pid in pids), WAIT_S)
    finally:
        for pid in filter(runs, pids):
            os.kill(pid, signal.SIGKILL)
    ports = [int(page.rpartition(":")[2]) for page in (workers.url, *workers.pages)]
    wait_until(lambda: all(is_free(port) for port in ports))


@pytest.mark.parametrize("options", [(), TWO])
def test_another_api_on_the_port_of_workers_is_refused(
    workers: Workers, running_system: RunningSystem, options: tuple[str, ...]
) -> None:
    done = another(running_system, workers.url, *options)
    assert done[0] == 2
    assert "LOCKSTREAM_API_PORT: another process listens on" in done[1]
    assert is_ready(workers.url)


def test_workers_are_refused_the_port_of_another_api(running_system: RunningSystem) -> None:
    code, said = another(running_system, running_system.env["BASE_URL"], *TWO)
    assert code == 2
    assert "LOCKSTREAM_API_PORT: another process listens on" in said
    assert "worker" not in said


def test_a_worker_that_can_not_be_configured_ends_all(running_system: RunningSystem) -> None:
    port = two_free_ports()
    settings = {"LOCKSTREAM_API_HEALTH_PORT": str(port), "LOCKSTREAM_JWT_ISSUERS": "[]"}
    url = f"http://127.0.0.1:{free_port(0)}"
    code, said = another(running_system, url, *TWO, **settings)
    assert code == 2
    for_people = [line for line in said.splitlines() if line.startswith("lockstream")]
    assert for_people
    for line in for_people:
        assert line.startswith("lockstream api worker ")
        assert "LOCKSTREAM_JWT_ISSUERS" in line


def another(system: RunningSystem, url: str, *options: str, **variables: str) -> tuple[int, str]:
    """Runs an API to its end; returns exit code and what it said."""
    names = ("KAFKA_BOOTSTRAP_SERVERS", "READ_MODEL_URL")
    settings = {
        "LOCKSTREAM_API_PORT": url.rpartition(":")[2],
        "LOCKSTREAM_JWT_ISSUERS": issuers_of(system),
        **{name: system.env[name] for name in names},
        **variables,
    }
    done = system.try_lockstream("api", *options, timeout_s=60, **settings)
    return done.returncode, done.stderr


def issuers_of(system: RunningSystem) -> str:
    keys = system.folder / "jwks.json"
    return f'[{{"issuer": "https://a.test/", "audience": "lockstream", "jwks": "{keys}"}}]'


def test_up_says_why_a_worker_can_not_be_configured(own_system: RunningSystem) -> None:
    own_system.folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"LOCKSTREAM_API_HEALTH_PORT": str(port)}
        done = own_system.try_lockstream("up", "--api-workers", "2", timeout_s=120, **settings)
    assert done.returncode == 2
    why = f"LOCKSTREAM_API_HEALTH_PORT: another process listens on 127.0.0.1:{port}"
    assert why in done.stderr.splitlines()[-1]


def test_up_runs_several_workers_and_comes_back_when_their_parent_is_killed(
    own_system: RunningSystem,
) -> None:
    own_system.start("--api-workers", "2")
    parent = int(own_system.env["API_PID"])
    wait_until(lambda: len(workers_of(parent)) == 2, WAIT_S)
    before = workers_of(parent)
    own_system.kill("API")
    own_system.wait_until_ready()
    wait_until(lambda: len(workers_of(int(own_system.env["API_PID"]))) == 2, WAIT_S)
    assert not any(runs(pid) for pid in before)
    env = own_system.env
    credentials = Caller(env).credentials
    page = f"{env['BASE_URL']}/locks/123/use-temp-key"
    assert httpx.post(page, json=BODY, headers=credentials, timeout=20).status_code == 200
    after = workers_of(int(env["API_PID"]))
    assert own_system.stop() == 0
    assert not any(runs(pid) for pid in after)
