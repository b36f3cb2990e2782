"""Measures this code beside that of an earlier commit, in turns on one machine and one broker: the
CPU of a command by role, and of what works off a stream."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import msgspec

from bench.backlogs import project
from bench.facts import publish
from bench.lockstream_roles import ORG, Roles
from bench.measurement import Case, Numbers
from bench.names import AFTER, BACKLOG, BACKLOG_TURNS, BEFORE, COMMAND_TURNS, ROLES
from bench.parts.commands import Server, start_lockstream
from bench.processes import cpu_seconds
from bench.trees import HERE, Tree
from bench.workbench import LOCKS, Workbench, loaded

READING_S = 3600.0
LEAST_CPU_S = 0.01


def take_turns(bench: Workbench) -> None:
    """Measures both trees; nothing where none was named."""
    if bench.before is None:
        return
    trees = {BEFORE: bench.before, AFTER: HERE}
    bench.progress.part(f"before: {bench.before.commit}")
    _commands(bench, trees)
    _backlogs(bench, trees)


def _commands(bench: Workbench, trees: Mapping[str, Tree]) -> None:
    with ExitStack() as started:
        servers: dict[str, tuple[Roles, Server]] = {}
        for code, tree in trees.items():
            roles = bench.roles(tree=tree)
            started.callback(roles.stop)
            servers[code] = roles, start_lockstream(bench, roles)
            bench.warm_up(servers[code][1].plan)
        for in_flight in bench.sizes.turns_in_flight:
            bench.measure(
                [
                    Case(
                        COMMAND_TURNS,
                        {"code": code, "commit": roles.commit, "in_flight": in_flight},
                        _cost(bench, roles, server, in_flight),
                    )
                    for code, (roles, server) in servers.items()
                ],
                bench.sizes.turns,
            )


def _cost(bench: Workbench, roles: Roles, server: Server, in_flight: int) -> Callable[[], Numbers]:
    plan = msgspec.structs.replace(server.plan, in_flight=in_flight)
    pids = {role: [one.process.pid for one in roles.running(role)] for role in ROLES}

    def run() -> Numbers:
        before = {role: cpu_seconds(pids[role]) for role in ROLES}
        numbers = loaded(bench, plan, server.pids)
        by_role = {
            f"{role}_cpu_ms": (cpu_seconds(pids[role]) - before[role]) * 1000 / numbers["answers"]
            for role in ROLES
        }
        total = numbers["cpu_ms"] + numbers["broker_cpu_ms"]
        return {"total_cpu_ms": total, **by_role, **numbers}

    return run


class _Stream:
    """Holds the newest installation of a tree, with a backlog and what comes of it."""

    def __init__(self, bench: Workbench, tree: Tree) -> None:
        self.commit = tree.commit
        self._bench = bench
        self._tree = tree
        self._empty = bench.roles(tree=tree)
        self._facts = 0

    def fill(self) -> None:
        self._roles = self._bench.roles(tree=self._tree)
        self._facts = publish(self._roles.settings, ORG, LOCKS, self._bench.sizes.turns_backlog)

    def drain(self) -> Numbers:
        try:
            worked = project(self._roles, self._facts, self._bench.placement.measured)
        finally:
            self._roles.stop()
        return _numbers(worked.records, worked.cpu_seconds, worked.peak_mib)

    def read(self, verb: str) -> Numbers:
        """Subtracts what the command needs on an empty installation."""
        starting = self._empty.command(verb, seconds=READING_S)
        done = self._roles.command(verb, seconds=READING_S)
        return _numbers(self._facts, done.cpu_seconds - starting.cpu_seconds, done.peak_mib)


def _backlogs(bench: Workbench, trees: Mapping[str, Tree]) -> None:
    streams = {code: _Stream(bench, tree) for code, tree in trees.items()}

    def case(code: str, work: str, run: Callable[[], Numbers]) -> Case:
        return Case(
            BACKLOG_TURNS, {"work": work, "code": code, "commit": streams[code].commit}, run
        )

    backlogs = [
        msgspec.structs.replace(case(code, BACKLOG, stream.drain), setup=stream.fill)
        for code, stream in streams.items()
    ]
    bench.measure(backlogs, bench.sizes.reader_rounds)
    for verb in ("rebuild", "verify"):
        cases = [case(code, verb, partial(stream.read, verb)) for code, stream in streams.items()]
        bench.measure(cases, bench.sizes.reader_rounds)


def _numbers(events: float, cpu: float, peak_mib: float) -> Numbers:
    return {
        "events": events,
        "events_per_cpu_second": events / max(cpu, LEAST_CPU_S),
        "peak_mib": peak_mib,
    }
