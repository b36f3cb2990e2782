"""Measures what one more core would lift: the same load on one core, on two, on four, and so on.
Load generator, broker and roles all run on those cores."""

import os
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from bench.measurement import Case, Parameter
from bench.names import CORES
from bench.parts.commands import (
    Server,
    closed_loop,
    start_endpoint_alone,
    start_lockstream,
)
from bench.processes import pin
from bench.workbench import Workbench


def compare_cores(bench: Workbench) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as started:
        roles = bench.roles()
        started.callback(roles.stop)
        servers = [start_endpoint_alone(bench, started), start_lockstream(bench, roles)]
        for server in servers:
            bench.warm_up(server.plan)
        started.callback(pin, bench.broker.pid, bench.placement.broker or cpus)
        for in_flight in bench.sizes.few_and_many:
            bench.measure(
                [
                    _on(bench, server, in_flight, cpus[:count])
                    for count in doubling(len(cpus))
                    for server in servers
                ]
            )


def doubling(most: int) -> list[int]:
    """Returns 1, 2, 4 … up to ``most``."""
    return [1 << n for n in range(most.bit_length())]


def _on(bench: Workbench, server: Server, in_flight: int, cpus: Sequence[int]) -> Case:
    def pin_all() -> None:
        for pid in (bench.broker.pid, *server.pids):
            pin(pid, cpus)

    parameters: dict[str, Parameter] = {"cores": len(cpus), "server": server.name}
    case = closed_loop(bench, server, in_flight, CORES, parameters, cpus)
    return msgspec.structs.replace(case, setup=pin_all)
