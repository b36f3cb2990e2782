"""Measures the whole path, from the moment a command is due until the partner has its record. The
rates are shares of the capacity that was measured just before."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.distributions import median
from bench.load import Plan
from bench.lockstream_roles import Roles
from bench.measurement import Case, Numbers
from bench.names import WHOLE_PATH
from bench.parts.commands import start_lockstream
from bench.processes import Process
from bench.workbench import Workbench, loaded

CAPACITY_IN_FLIGHT = 256
SHARES = (10, 50, 90)
READY_S = 30.0


def measure_whole_path(bench: Workbench) -> None:
    roles = bench.roles()
    try:
        server = start_lockstream(bench, roles)
        many = msgspec.structs.replace(server.plan, in_flight=CAPACITY_IN_FLIGHT)
        bench.warm_up(server.plan)
        capacity = median([loaded(bench, many, server.pids)["per_second"] for _ in range(3)])
        cases = [
            Case(
                WHOLE_PATH,
                {"capacity_percent": share, "rate": round(capacity * share / 100)},
                _at(bench, roles, server.plan, capacity * share / 100),
            )
            for share in SHARES
        ]
        bench.measure(cases)
    finally:
        roles.stop()


def _at(bench: Workbench, roles: Roles, plan: Plan, rate: float) -> Callable[[], Numbers]:
    def run() -> Numbers:
        ready, results = bench.folder / "partner.ready", bench.folder / "partner.json"
        for file in (ready, results):
            file.unlink(missing_ok=True)
        partner = _start_partner(bench, roles, ready, results)
        try:
            partner.wait_until(ready.exists, READY_S)
            stamped = msgspec.structs.replace(plan, rate=max(rate, 1.0), stamped=True)
            answered = bench.load(stamped).numbers
        finally:
            partner.stop()
        found = msgspec.json.decode(results.read_bytes(), type=dict[str, float])
        return {
            **found,
            "answered_p50_ms": answered["p50_ms"],
            "answered_p99_ms": answered["p99_ms"],
        }

    return run


def _start_partner(bench: Workbench, roles: Roles, ready: Path, results: Path) -> Process:
    settings = roles.settings
    topic = roles.partner_topic(roles.partners[0])
    arguments = [settings.kafka_bootstrap_servers, topic, str(settings.partitions)]
    return Process(
        [sys.executable, "-m", "bench.readers.partner", *arguments, str(ready), str(results)],
        os.environ,
        bench.folder / "partner.log",
        bench.placement.load,
    )
