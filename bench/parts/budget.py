"""Measures where the time of a command goes, by its trace, and each role's CPU, by py-spy."""

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from bench.distributions import latency_numbers
from bench.hops import HOPS, budget
from bench.lockstream_roles import Replica
from bench.names import BUDGET, PROFILE
from bench.parts.commands import start_lockstream
from bench.profiles import shares
from bench.workbench import Workbench
from support.collector import collecting

TRACED_RATE = 50.0
SPANS_S = 20.0
PROFILED_IN_FLIGHT = 64
PY_SPY_S = 60.0


def measure_budget(bench: Workbench) -> None:
    _trace(bench)
    _profile(bench)


def _trace(bench: Workbench) -> None:
    """Traces nearly one command at a time: 50 a second, all of them sampled."""
    with collecting() as collector:
        roles = bench.roles(
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_TRACES_SAMPLER": "always_on",
                "OTEL_BSP_SCHEDULE_DELAY": "500",
            }
        )
        try:
            plan = start_lockstream(bench, roles).plan
            bench.warm_up(plan)
            collector.spans.clear()
            seconds = bench.sizes.traced / TRACED_RATE
            traced = msgspec.structs.replace(plan, rate=TRACED_RATE, seconds=seconds)
            answers = bench.load(traced).numbers["answers"]
            deadline = time.monotonic() + SPANS_S
            while True:
                found = budget(list(collector.spans))
                if len(found[HOPS[0]]) >= answers or time.monotonic() > deadline:
                    break
                time.sleep(0.5)
        finally:
            roles.stop()
    for hop in HOPS:
        numbers = {**latency_numbers(found[hop]), "traces": float(len(found[hop]))}
        bench.keep(BUDGET, {"hop": hop}, numbers)


def _profile(bench: Workbench) -> None:
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        bench.progress.part("no py-spy: no profiles")
        return
    roles = bench.roles()
    try:
        plan = start_lockstream(bench, roles).plan
        many = msgspec.structs.replace(plan, in_flight=PROFILED_IN_FLIGHT)
        bench.warm_up(plan)
        for role in ("api", "projector", "fanout"):
            seconds = bench.sizes.profile_seconds
            plan = msgspec.structs.replace(many, seconds=seconds + 2.0)
            with ThreadPoolExecutor(1) as beside:
                loading = beside.submit(bench.load, plan)
                found = _sample(py_spy, roles.running(role)[0], seconds, bench.folder)
                loading.result()
            if found:
                bench.keep(PROFILE, {"role": role}, found)
    finally:
        roles.stop()


def _sample(py_spy: str, replica: Replica, seconds: int, folder: Path) -> dict[str, float]:
    """Returns per cent of the samples that ran Python, by package; empty where py-spy may not
    look."""
    file = folder / f"{replica.role}.stacks"
    command = [
        py_spy,
        "record",
        "--gil",
        "--format",
        "raw",
        "--output",
        str(file),
        "--full-filenames",
    ]
    command += ["--duration", str(seconds), "--pid", str(replica.process.pid)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=seconds + PY_SPY_S
    )
    return shares(file.read_text().splitlines()) if done.returncode == 0 else {}
