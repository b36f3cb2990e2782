"""``make bench``: the figures of the README, measured again on this machine."""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.backlog import Drained, drain
from bench.load import Outcome, Plan
from bench.system import System

LOCKS = tuple(range(1000, 1100))
RESULTS = Path(__file__).parent / "results"


class Machine(msgspec.Struct, frozen=True):
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str


class Results(msgspec.Struct, frozen=True):
    """``commands``: by number in flight."""

    at: str
    machine: Machine
    commands: dict[str, Outcome]
    projector: Drained
    broker_mib: float


def describe_machine() -> Machine:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages * size / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def load(system: System, in_flight: int, seconds: float) -> Outcome:
    env = system.env
    host, _, port = env["BASE_URL"].removeprefix("http://").partition(":")
    plan = Plan(host, int(port), env["TOKEN"], env["API_KEY"], LOCKS, in_flight, seconds)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        capture_output=True,
        timeout=seconds + 60,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Outcome)


def measure(folder: Path, quick: bool) -> Results:
    system = System(folder / "state")
    system.start()
    try:
        locks = folder / "locks.csv"
        locks.write_text("id,org\n" + "".join(f"{lock},demo\n" for lock in LOCKS))
        system.lockstream("lock", "import", str(locks))
        seconds = 5.0 if quick else 20.0
        # The JVM compiles what is hot in its first half minute, at the cost of everything else.
        load(system, 256, 20.0 if quick else 30.0)
        commands = {}
        for in_flight in (1, 16, 64, 256):
            commands[str(in_flight)] = load(system, in_flight, seconds)
            print(f"{in_flight:4} in flight: {_line(commands[str(in_flight)])}", flush=True)
        facts = 100_000 if quick else 1_000_000
        drained = asyncio.run(
            drain(
                system.env["KAFKA_BOOTSTRAP_SERVERS"],
                facts,
                LOCKS,
                lambda: system.resident_mib("PROJECTOR"),
            )
        )
        print(
            f"projector: {drained.facts_per_second:,.0f} facts/s over {facts:,} facts, memory "
            + " ".join(f"{mib:.0f}" for mib in drained.memory_mib)
            + " MiB"
        )
        broker = system.resident_mib("BROKER")
        print(f"broker: {broker:.0f} MiB")
    finally:
        system.stop()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(at, describe_machine(), commands, drained, broker)


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.per_second:7,.0f} commands/s, p50 {outcome.p50_ms:6.1f} ms, "
        f"p99 {outcome.p99_ms:6.1f} ms, {outcome.others} not 200"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="lockstream-bench-") as folder:
        results = measure(Path(folder), quick)
    file = RESULTS / f"{results.at[:10]}{'-quick' if quick else ''}.json"
    document = msgspec.to_builtins(results)
    file.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written to {file.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
