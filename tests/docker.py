"""Docker, where there is one: a probe that takes no time where there is none, and Kafka in it."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

from lockstream.eventlog.local_broker import KAFKA_VERSION, SINGLE_NODE_PROPERTIES

IMAGE = f"apache/kafka:{KAFKA_VERSION}"


def docker_answers() -> bool:
    """Whether a daemon answers and has our Kafka image, or can pull it in a minute."""
    if shutil.which("docker") is None:
        return False
    if not _docker("info", timeout_s=3):
        return False
    return _docker("image", "inspect", IMAGE, timeout_s=5) or _docker("pull", IMAGE, timeout_s=60)


def _docker(*arguments: str, timeout_s: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def kafka_container() -> Iterator[str]:
    """Apache Kafka in a container: its bootstrap servers. testcontainers' own Kafka class knows
    another image only."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    if os.path.exists("/.dockerenv"):
        os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    properties = {
        **SINGLE_NODE_PROPERTIES,
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:9093",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    for name, value in properties.items():
        container = container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    container = container.waiting_for(
        LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(90)
    )
    with container:
        yield f"127.0.0.1:{port}"
