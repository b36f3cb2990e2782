"""Tests on several cores: one broker and one database for all that run side by side."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from eventlog.local.local_broker import LocalBroker
from runtime.ports import free_port
from support.postgres import NoPostgres, throw_away_cluster
from tests.docker import IMAGE, DockerUnusable, kafka_container

KAFKA, POSTGRES = "lockstream_kafka", "lockstream_postgres"
"""Where a worker finds what it was given: the bootstrap servers and the URL. Not in environment
variables, which the systems that flow tests start would take for theirs."""


class Servers:
    """What integration tests need of others. Each is started when it is first asked for."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._kafka: str | None = None
        self._postgres: str | None = None
        self.kafka_is = ""

    def kafka(self) -> str:
        """A broker that is configured, else one in a container, else the embedded one: real Kafka
        each time. ``kafka_is`` says which."""
        if self._kafka is None:
            self._kafka = self._start_kafka()
        return self._kafka

    def _start_kafka(self) -> str:
        configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if configured:
            self.kafka_is = "as configured"
            return configured
        try:
            servers = self._stack.enter_context(kafka_container())
        except DockerUnusable as error:
            self.kafka_is = f"embedded, because of Docker: {error}"
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstream-"))
            broker = LocalBroker.start(Path(folder) / "broker", port=free_port(0))
            self._stack.callback(broker.stop)
            return broker.bootstrap_servers
        self.kafka_is = f"{IMAGE} in a container"
        return servers

    def postgres(self) -> str:
        """``LOCKSTREAM_TEST_POSTGRES_URL``, or a throw-away cluster of the server installed here.

        Raises:
            NoPostgres: none is installed, or it does not start.
        """
        if self._postgres is None:
            configured = os.environ.get("LOCKSTREAM_TEST_POSTGRES_URL")
            self._postgres = configured or self._stack.enter_context(throw_away_cluster())
        return self._postgres

    def close(self) -> None:
        self._stack.close()


SERVERS = pytest.StashKey[Servers]()


class Shared:
    """In the process that hands the tests out: starts the servers for its workers."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[KAFKA] = self._servers.kafka()
        # Without one, each worker says why as it skips.
        with contextlib.suppress(NoPostgres):
            node.workerinput[POSTGRES] = self._servers.postgres()


def given(config: pytest.Config, name: str) -> str | None:
    """What the process that hands the tests out has given to this worker."""
    found: str | None = getattr(config, "workerinput", {}).get(name)
    return found


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = servers = Servers()
    config.add_cleanup(servers.close)
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Shared(servers))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[SERVERS].kafka_is:
        terminalreporter.write_line(f"Kafka: {config.stash[SERVERS].kafka_is}")
