"""The local broker as a supervisor uses it: one real Kafka per test, in a folder of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from eventlog.local.left_behind import has_let_go
from eventlog.local.local_broker import LocalBroker
from runtime.errors import BrokerUnavailable
from runtime.ports import free_port

Start = Callable[..., LocalBroker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts brokers in one folder (with a name that is hard on Java), and stops what is left."""
    with ExitStack() as running:

        def start(port: int | None = None) -> LocalBroker:
            broker = LocalBroker.start(
                tmp_path / "a broker, ü", port=port or free_port(0), heap_mib=256
            )
            running.callback(broker.stop, 10.0)
            return broker

        yield start


async def write(broker: LocalBroker, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, transactional_id="t")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait("kept", value, partition=0)
    finally:
        await producer.stop()


async def read(broker: LocalBroker, count: int) -> bytes:
    """Reads that many committed records: a commit is readable some moments after its answer."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition("kept", 0)])
        await consumer.seek_to_beginning()
        async with asyncio.timeout(10.0):
            return b",".join([(await consumer.getone()).value for _ in range(count)])
    finally:
        await consumer.stop()


async def test_what_was_written_survives_a_restart_which_is_quick(start: Start) -> None:
    broker = await asyncio.to_thread(start)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    await write(broker, b"one")
    await asyncio.to_thread(broker.stop, 10.0)

    began = time.monotonic()
    again = await asyncio.to_thread(start, int(broker.bootstrap_servers.rpartition(":")[2]))
    took_s = time.monotonic() - began

    assert again.bootstrap_servers == broker.bootstrap_servers
    assert again.pid != broker.pid
    await write(again, b"two")
    assert await read(again, count=2) == b"one,two"
    assert took_s < 15.0, "2 s on an idle machine"


def test_a_busy_port_gets_another(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = server.getsockname()[1]
        broker = start(busy)
        assert broker.bootstrap_servers != f"127.0.0.1:{busy}"
        broker.stop(10.0)
    # The controller's port of the last time, too.
    ports = (tmp_path / "a broker, ü" / "ports.json").read_text()
    controller = int(ports.rpartition(":")[2].rstrip("}"))
    with socket.create_server(("127.0.0.1", controller)):
        assert start().poll() is None


def test_it_stops_when_told_and_can_be_watched(start: Start) -> None:
    broker = start()
    assert broker.poll() is None
    assert broker.wait(0.05) is None
    assert os.getsid(broker.pid) == broker.pid, "a terminal's Ctrl-C must not reach it"
    broker.stop(10.0)
    assert broker.poll() is not None
    assert broker.wait(0.0) is not None
    broker.stop(10.0)


def test_one_that_does_not_listen_is_killed(start: Start) -> None:
    broker = start()
    os.kill(broker.pid, signal.SIGSTOP)
    broker.stop(0.5)
    assert broker.poll() == -signal.SIGKILL


def test_one_that_died_can_be_started_again_at_once(start: Start) -> None:
    broker = start()
    os.kill(broker.pid, signal.SIGKILL)
    assert broker.wait(10.0) == -signal.SIGKILL
    again = start()
    assert broker.poll() == -signal.SIGKILL
    assert again.poll() is None


def test_two_supervisors_do_not_share_a_folder(start: Start) -> None:
    first = start()
    with pytest.raises(BrokerUnavailable, match=r"is running in .* already"):
        start()
    assert first.poll() is None


def test_one_that_a_killed_supervisor_left_behind_is_replaced(start: Start, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from eventlog.local.local_broker import LocalBroker\n"
        "broker = LocalBroker.start(Path(sys.argv[1]), port=int(sys.argv[2]), heap_mib=256)\n"
        "print(broker.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    port = free_port(0)
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a broker, ü"), str(port)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    orphan = int(killed.stdout)
    assert not has_let_go(orphan)

    broker = start(port)

    assert broker.pid != orphan
    assert broker.bootstrap_servers == f"127.0.0.1:{port}"
    assert has_let_go(orphan)


def test_one_that_cannot_start_says_why(start: Start, tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"num\.io\.threads"):
        LocalBroker.start(
            tmp_path / "broken", port=free_port(0), properties={"num.io.threads": "none"}
        )
