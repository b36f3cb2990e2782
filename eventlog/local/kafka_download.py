"""Fetches Apache Kafka's jars from Maven, once for each user."""

import contextlib
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runtime.errors import BrokerUnavailable
from runtime.files import held_file, write_atomically

KAFKA_VERSION = "4.1.1"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka's jars bring log4j2, but nothing that leads slf4j, which Kafka logs to, into it.
_LOGGING_BRIDGE = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_FETCH_S = 600.0

Progress = Callable[[str], None]
"""Takes one line for a person."""


def fetch_kafka(progress: Progress, cache: Path | None = None) -> Sequence[Path]:
    """Returns Kafka's jars in class path order: downloaded the first time, remembered after that.

    Args:
        cache: where they are kept; ``lockstream`` in the user's cache folder unless given.

    Raises:
        BrokerUnavailable: they can't be downloaded or kept.
    """
    cache = cache or _user_cache()
    remembered = cache / f"kafka-{KAFKA_VERSION}.classpath"
    busy = BrokerUnavailable(f"another process has been fetching Kafka into {cache} for long")
    try:
        if jars := _read_class_path(remembered):
            return jars
        cache.mkdir(parents=True, exist_ok=True)
        with held_file(cache / "lock", _FETCH_S, busy):
            if jars := _read_class_path(remembered):
                return jars
            repository = cache / "maven"
            _drop_broken_files(repository)
            jars = _download(repository, progress)
            write_atomically(remembered, "\n".join(map(str, jars)).encode())
            return jars
    except OSError as error:  # requests' errors are OSErrors too
        raise BrokerUnavailable(
            f"Apache Kafka can't be downloaded ({_one_line(error)}); check the network and the "
            f"folder {cache}, or set KAFKA_BOOTSTRAP_SERVERS to a broker that is there"
        ) from error


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstream"


def _read_class_path(remembered: Path) -> list[Path]:
    """Returns nothing unless everything that it names is still there."""
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


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
