"""Describes the machine that a result was measured on: a figure without it means nothing."""

import multiprocessing
import os
import platform
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.distributions import median

PACKAGES = ("aiokafka", "starlette", "uvicorn", "uvloop", "httptools", "msgspec", "PyJWT")
COMPARED = ("fastapi", "faststream", "asyncpg", "confluent-kafka")

ADDITIONS = 1_000_000
ROUND_TRIPS = 2_000
ECHO_S = 20.0


class Machine(msgspec.Struct, frozen=True):
    """Describes the machine. ``load_average``: of one and five minutes, before the measurements."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    load_average: tuple[float, float]
    commit: str


def describe_machine() -> Machine:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    one, five, _ = os.getloadavg()
    return Machine(
        processor=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages * size / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: version(name) for name in (*PACKAGES, *COMPARED)},
        load_average=(round(one, 2), round(five, 2)),
        commit=_commit(),
    )


def additions_per_microsecond() -> float:
    """Measures how fast one process runs Python now: a shared machine may be three times slower
    later."""

    def add() -> float:
        total, started_at = 0, time.perf_counter()
        for number in range(ADDITIONS):
            total += number
        return ADDITIONS / (time.perf_counter() - started_at) / 1e6

    return median([add() for _ in range(5)])


def round_trip_microseconds() -> float:
    """How long one byte takes over TCP to a process that sleeps until it comes, and back: two
    wake-ups and four system calls, of which a command on its own is mostly made.

    Raises:
        TimeoutError: the other process does not come or does not answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(ECHO_S)
        other = multiprocessing.get_context("spawn").Process(
            target=_echo, args=(server.getsockname(),), daemon=True
        )
        other.start()
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(ECHO_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return median([_round_trip(connection) for _ in range(5)])
        finally:
            other.kill()
            other.join()


def _round_trip(connection: socket.socket) -> float:
    started_at = time.perf_counter()
    for _ in range(ROUND_TRIPS):
        connection.send(b"x")
        connection.recv(1)
    return (time.perf_counter() - started_at) / ROUND_TRIPS * 1e6


def _echo(address: tuple[str, int]) -> None:
    with socket.create_connection(address, ECHO_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while byte := connection.recv(1):
            connection.send(byte)


def _commit() -> str:
    """Returns the commit; empty outside a repository."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
