"""``compose.yaml`` as an operator uses it: brought up with one command, set up through the CLI in
its containers, used over HTTP and Kafka from outside, one service killed."""

import json
import os
import runpy
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer

from runtime.ports import free_port, is_free
from tests.docker import DockerUnusable, check_compose

if TYPE_CHECKING:
    from testcontainers.compose import DockerCompose

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
LOCK_ID, ORG, PARTNER = 7, "acme", "acme-crm"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


class Stack:
    """The running project, seen from outside."""

    def __init__(self, compose: "DockerCompose", api_port: int, partner_port: int) -> None:
        self._compose = compose
        self._url = f"http://127.0.0.1:{api_port}/locks/{LOCK_ID}"
        self.partner_servers = f"127.0.0.1:{partner_port}"
        self._credentials: dict[str, str] = {}

    def set_up(self) -> None:
        """An organisation, a lock, a key, a token, a partner, as the README has it."""
        self._cli("org", "add", "--id", ORG)
        self._cli("lock", "add", "--id", str(LOCK_ID), "--org", ORG)
        key = self._cli("key", "issue", "--org", ORG)
        token = self._cli("token", "mint", "--sub", "alice")
        self._credentials = {"Authorization": f"Bearer {token}", "X-API-Key": key}
        self._cli("partner", "add", "--id", PARTNER, "--org", ORG)

    def let_partner_in(self, folder: Path) -> dict[str, Any]:
        """What the partner's own client is told."""
        told = self._cli(
            "partner", "credentials", "issue", "--id", PARTNER, "--client-config", "python"
        )
        (folder / "client.py").write_text(told)
        config: dict[str, Any] = runpy.run_path(str(folder / "client.py"))["CONFIG"]
        return config

    def use(self, temp_key: str) -> dict[str, Any]:
        """Sends the command, with one idempotency key, until its version is in the answer."""
        request = urllib.request.Request(
            f"{self._url}/use-temp-key",
            data=json.dumps({"tempKeyUuid": temp_key}).encode(),
            headers={
                **self._credentials,
                "Content-Type": "application/json",
                "Idempotency-Key": temp_key,
            },
        )
        answer: dict[str, Any] = {}

        def is_recorded() -> bool:
            with urllib.request.urlopen(request, timeout=10) as response:
                answer.update(json.load(response))
            assert response.status in (200, 202)
            return bool(response.status == 200)

        eventually(is_recorded)
        return answer

    def lock_from_read_model(self, version: int) -> dict[str, Any]:
        page = urllib.request.Request(
            f"{self._url}?minVersion={version}", headers=self._credentials
        )
        with urllib.request.urlopen(page, timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def kill(self, service: str) -> None:
        """SIGKILL; returns when it is dead."""
        self._docker("kill", "--signal", "KILL", service)
        eventually(lambda: not self._docker("ps", "--quiet", "--status", "running", service))

    def start(self, service: str) -> None:
        """Returns when its health check is content."""
        self._docker("up", "--wait", "--no-deps", "--no-recreate", service)

    def _cli(self, *arguments: str) -> str:
        return self._docker("run", "--rm", "--no-deps", "-T", "cli", *arguments)

    def _docker(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._compose.docker_compose_command(), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S + 30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    try:
        check_compose("apache/kafka:4.1.1", "postgres:17", "python:3.12-slim")
    except DockerUnusable as error:
        pytest.skip(str(error))
    from testcontainers.compose import DockerCompose

    run = f"lockstream-test-{uuid.uuid4().hex[:8]}"
    image = f"{run}:latest"
    api_port, partner_port = free_port(0), free_port(0)
    compose = DockerCompose(ROOT, compose_file_name="compose.yaml", build=True, wait=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COMPOSE_PROJECT_NAME", run)
        environment.setenv("LOCKSTREAM_IMAGE", image)
        environment.setenv("API_PORT", str(api_port))
        environment.setenv("PARTNER_PORT", str(partner_port))
        try:
            with compose:  # goes down with its volumes, also where it did not come up
                if is_free(partner_port) and _is_elsewhere():
                    pytest.skip("the containers' ports are not on this machine's 127.0.0.1")
                yield Stack(compose, api_port, partner_port)
        finally:
            remove = ["docker", "image", "rm", "--no-prune", image]
            subprocess.run(remove, capture_output=True, timeout=60, check=False)


def _is_elsewhere() -> bool:
    """Whether the daemon may be on another machine, or we in a container beside its own."""
    return "DOCKER_HOST" in os.environ or Path("/.dockerenv").exists()


def read_partner_topic(config: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The first records, as the partner's own consumer sees them from outside."""
    consumer = Consumer(config)
    found: list[dict[str, Any]] = []
    try:
        consumer.subscribe([f"partner.{PARTNER}.lock-events"])
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < deadline, found
            record = consumer.poll(0.5)
            if record is None:
                continue
            assert record.error() is None, record.error()
            headers = {name: value.decode() for name, value in record.headers()}
            found.append({"headers": headers, **json.loads(record.value())})
    finally:
        consumer.close()
    return found


def test_one_command_brings_up_a_system_that_survives_a_kill(stack: Stack, tmp_path: Path) -> None:
    stack.set_up()

    first = stack.use("key-1")
    assert first["version"] == 2

    stack.kill("projector")
    stack.start("projector")
    second = stack.use("key-2")
    assert second["version"] == 3
    assert stack.lock_from_read_model(3)["version"] == 3

    delivered = read_partner_topic(stack.let_partner_in(tmp_path), 3)
    assert [record["detail-type"] for record in delivered] == [
        "LockCreated",
        "TempKeyUsed",
        "TempKeyUsed",
    ]
    assert [record["id"] for record in delivered[1:]] == [
        first["event"]["id"],
        second["event"]["id"],
    ]
    # All three are one lock's, so in one partition.
    assert [record["headers"]["sequence"] for record in delivered] == ["1", "2", "3"]
