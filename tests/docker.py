"""Kafka in a container, where a Docker daemon can run it."""

import contextlib
import gc
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from eventlog.local.broker_properties import SINGLE_NODE_PROPERTIES
from eventlog.local.kafka_download import KAFKA_VERSION
from eventlog.local.local_broker import answers
from runtime.ports import free_port

if TYPE_CHECKING:
    from testcontainers.core.docker_client import DockerClient

T = TypeVar("T")

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_PROBE_S = 2
_PULL_S = 180.0
_START_S = 90.0


class DockerUnusable(Exception):
    """Why no container can be had; the embedded broker takes its place."""


@contextlib.contextmanager
def kafka_container() -> Iterator[str]:
    """Apache Kafka in a container: its bootstrap servers.

    Raises:
        DockerUnusable: no daemon answers, it has no image, or what it starts can't be reached.
    """
    with contextlib.ExitStack() as stack:
        yield _try(lambda: _start(stack))


def check_compose(*images: str) -> None:
    """
    Raises:
        DockerUnusable: no daemon answers, it has no Compose, or it can't have one of the images.
    """
    with contextlib.ExitStack() as stack:
        _try(lambda: _look_for_compose(stack, images))


def _look_for_compose(stack: contextlib.ExitStack, images: Sequence[str]) -> None:
    import docker.errors

    daemon = _connect(stack)
    version = ["docker", "compose", "version", "--short"]
    try:
        done = subprocess.run(version, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        raise docker.errors.DockerException("there is no `docker compose`") from None
    if done.stdout.startswith("1."):
        raise docker.errors.DockerException(f"docker compose {done.stdout.strip()} is too old")
    for image in images:
        _have_image(daemon, image)


def _try(attempt: Callable[[], T]) -> T:
    """
    Raises:
        DockerUnusable: for all that Docker's client raises.
    """
    import docker.errors
    import requests

    try:
        return attempt()
    except (docker.errors.DockerException, requests.RequestException, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
    # Not inside `except`: docker-py forgets to close a socket that no daemon answers, and the
    # error holds on to it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    raise DockerUnusable(reason)


def _connect(stack: contextlib.ExitStack) -> "DockerClient":
    # Only now: it takes a third of a second.
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.docker_client import DockerClient

    # The container that removes containers would itself have to be pulled, and be privileged.
    testcontainers_config.ryuk_disabled = True
    daemon = DockerClient(timeout=_PROBE_S)
    stack.callback(daemon.client.close)
    return daemon


def _start(stack: contextlib.ExitStack) -> str:
    from testcontainers.core.container import DockerContainer

    daemon = _connect(stack)
    _have_image(daemon, IMAGE)
    host, port = daemon.host().replace("localhost", "127.0.0.1"), free_port(0)
    # testcontainers' own Kafka class can only start another image.
    container = DockerContainer(IMAGE, docker_client_kw={"timeout": 60})
    # The same port inside and outside: the broker writes transaction markers to itself through
    # the address that it advertises.
    container.with_bind_ports(port, port)
    container.with_envs(**_environment(host, port))
    stack.enter_context(container)
    _wait_until_it_answers(host, port)
    return f"{host}:{port}"


def _have_image(daemon: "DockerClient", image: str) -> None:
    import docker.errors

    try:
        daemon.client.images.get(image)
    except docker.errors.ImageNotFound:
        deadline = time.monotonic() + _PULL_S
        daemon.client.api.timeout = 30
        for event in daemon.client.api.pull(image, stream=True, decode=True):
            if "error" in event:
                raise docker.errors.DockerException(event["error"]) from None
            if time.monotonic() > deadline:
                raise TimeoutError(f"{image} could not be pulled in {_PULL_S:.0f} s") from None


def _environment(host: str, port: int) -> dict[str, str]:
    properties = {
        **SINGLE_NODE_PROPERTIES,
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:9093",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    named = {f"KAFKA_{name.upper().replace('.', '_')}": v for name, v in properties.items()}
    return {**named, "KAFKA_HEAP_OPTS": "-Xmx512m"}


def _wait_until_it_answers(host: str, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while not answers(port, host):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Kafka in a container did not answer at {host}:{port}")
        time.sleep(0.1)
