"""The local broker without a broker: its settings, its ports, and whom it takes for its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.local.broker_properties import (
    SINGLE_NODE_PROPERTIES,
    node_properties,
    render_properties,
)
from eventlog.local.kafka_download import KAFKA_VERSION, fetch_kafka
from eventlog.local.left_behind import has_let_go, left_behind
from eventlog.local.local_broker import LocalBroker
from runtime.errors import BrokerUnavailable
from runtime.ports import PortClaims, free_port


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("a b", "a\\u0020b"),
        ("a=b", "a\\u003db"),
        ("C:\\x", "C\\u003a\\u005cx"),
        ("ü", "\\u00fc"),
        ("🔑", "\\ud83d\\udd11"),
        ("", ""),
    ],
)
def test_a_property_reads_in_java_as_it_was_meant(value: str, rendered: str) -> None:
    assert render_properties({"a.b": value}) == f"a.b={rendered}\n"


def test_the_node_listens_on_this_machine_only() -> None:
    properties = node_properties(9092, 9093)
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert not properties.keys() & SINGLE_NODE_PROPERTIES.keys()


def test_one_node_is_never_asked_for_a_second_replica() -> None:
    replicas = {
        name: value
        for name, value in SINGLE_NODE_PROPERTIES.items()
        if name.endswith(("replication.factor", "min.isr"))
    }
    assert len(replicas) == 5
    assert set(replicas.values()) == {"1"}


def test_a_claimed_port_is_given_to_nobody_else_until_it_is_released() -> None:
    first, second = PortClaims(), PortClaims()
    port = first.take(0)
    assert second.take(port) != port
    first.release()
    assert second.take(port) == port
    second.release()


def test_a_free_port_is_taken_as_wished(busy_port: int) -> None:
    other = free_port(0, but_not=busy_port)
    assert free_port(other) == other


def test_a_busy_or_excluded_port_is_replaced_by_another(busy_port: int) -> None:
    assert free_port(busy_port) != busy_port
    other = free_port(0)
    assert free_port(other, but_not=other) != other


def sleeping(*arguments: str) -> "subprocess.Popen[bytes]":
    script = "import sys, time; print('on', flush=True); time.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "broker with a space"
    folder.mkdir()
    return folder


def pid_file_names(folder: Path, process: "subprocess.Popen[bytes]") -> int | None:
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            (folder / "pid").write_text(str(process.pid))
            return left_behind(folder)
        finally:
            process.kill()


def test_a_process_of_this_folder_is_one_that_was_left_behind(folder: Path) -> None:
    process = sleeping(f"-Dlockstream.broker={folder}")
    assert pid_file_names(folder, process) == process.pid
    assert left_behind(folder) is None, "it has ended"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it reads /proc")
def test_one_that_has_ended_has_let_go_even_before_it_is_reaped(folder: Path) -> None:
    with sleeping("") as process:
        assert not has_let_go(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.kill(process.pid, 0)
        assert has_let_go(process.pid)
    assert has_let_go(process.pid)


@pytest.mark.parametrize("argument", ["", "-Dlockstream.broker={}2", "{}"])
def test_a_stranger_that_got_the_number_is_left_alone(folder: Path, argument: str) -> None:
    assert pid_file_names(folder, sleeping(argument.format(folder))) is None


@pytest.mark.parametrize("content", [None, "", "none\n", "-1", "99999999999"])
def test_a_pid_file_that_says_nothing_names_nobody(folder: Path, content: str | None) -> None:
    if content is not None:
        (folder / "pid").write_text(content)
    assert left_behind(folder) is None


@pytest.mark.usefixtures("no_network")
def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"check the network.*KAFKA_BOOTSTRAP_SERVERS") as e:
        fetch_kafka(lambda line: None, tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.usefixtures("no_network")
def test_a_class_path_is_remembered_until_a_jar_is_gone(tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.touch()
    (tmp_path / f"kafka-{KAFKA_VERSION}.classpath").write_text(str(jar))
    assert list(fetch_kafka(lambda line: None, tmp_path)) == [jar]
    jar.unlink()
    with pytest.raises(BrokerUnavailable):
        fetch_kafka(lambda line: None, tmp_path)


@pytest.mark.usefixtures("no_network")
def test_what_a_broken_off_download_left_is_fetched_again(tmp_path: Path) -> None:
    maven = tmp_path / "maven"
    maven.mkdir()
    (maven / "half.jar").write_bytes(b"PK\x03\x04 and no more")
    (maven / "half.pom").write_text("<project><artifactId>")
    (maven / "whole.pom").write_text("<project></project>\n")
    with pytest.raises(BrokerUnavailable):
        fetch_kafka(lambda line: None, tmp_path)
    assert [file.name for file in maven.glob("*.*")] == ["whole.pom"]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BrokerUnavailable, match=str(tmp_path / "file")):
        LocalBroker.start(tmp_path / "broker")
