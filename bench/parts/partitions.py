"""Measures how many commands share a transaction: the same load on few partitions and on many."""

from contextlib import ExitStack

from bench.names import PARTITIONS
from bench.parts.commands import Server, closed_loop, start_lockstream
from bench.workbench import Workbench


def compare_partitions(bench: Workbench) -> None:
    with ExitStack() as started:
        servers: dict[int, Server] = {}
        for partitions in bench.sizes.partitions:
            roles = bench.roles(partitions=partitions)
            started.callback(roles.stop)
            servers[partitions] = start_lockstream(bench, roles)
            bench.warm_up(servers[partitions].plan)
        for in_flight in bench.sizes.few_and_many:
            bench.measure(
                [
                    closed_loop(bench, server, in_flight, PARTITIONS, {"partitions": partitions})
                    for partitions, server in servers.items()
                ]
            )
