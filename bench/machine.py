"""The machine that a result was measured on: a figure without it means nothing."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.distributions import median

PACKAGES = ("aiokafka", "starlette", "uvicorn", "uvloop", "httptools", "msgspec", "PyJWT")
COMPARED = ("fastapi", "faststream", "asyncpg", "confluent-kafka")

ADDITIONS = 1_000_000


class Machine(msgspec.Struct, frozen=True):
    """``load_average``: of one and five minutes, before anything was measured."""

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
    """How fast it is just now, for one process that runs Python: a shared machine may be three
    times slower an hour later."""

    def add() -> float:
        total, begun = 0, time.perf_counter()
        for number in range(ADDITIONS):
            total += number
        return ADDITIONS / (time.perf_counter() - begun) / 1e6

    return median([add() for _ in range(5)])


def _commit() -> str:
    """Empty outside a repository."""
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
