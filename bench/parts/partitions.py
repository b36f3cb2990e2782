"""How many commands share a transaction: the same load on few partitions and on many."""

from contextlib import ExitStack

import msgspec

from bench.measurement import Case
from bench.names import PARTITIONS
from bench.parts.commands import Server, start_lockstream
from bench.workbench import Workbench, loaded


def compare_partitions(bench: Workbench) -> None:
    with ExitStack() as started:
        servers: dict[int, Server] = {}
        for partitions in bench.sizes.partitions:
            roles = bench.roles(partitions=partitions)
            started.callback(roles.stop)
            servers[partitions] = start_lockstream(bench, roles)
            bench.warm_up(servers[partitions].plan)
        for in_flight in bench.sizes.in_flight:
            bench.measure([_closed(bench, n, server, in_flight) for n, server in servers.items()])


def _closed(bench: Workbench, partitions: int, server: Server, in_flight: int) -> Case:
    plan = msgspec.structs.replace(server.plan, in_flight=in_flight)
    return Case(
        PARTITIONS,
        {"in_flight": in_flight, "partitions": partitions},
        lambda: loaded(bench, plan, server.pids),
    )
