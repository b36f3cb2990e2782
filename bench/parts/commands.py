"""Measures the command path beside what people would write instead: one broker, in turns."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import msgspec

from bench.backlogs import project
from bench.facts import publish
from bench.load import Plan
from bench.lockstream_roles import ORG, Roles
from bench.measurement import Case, Numbers, Parameter
from bench.names import (
    CLOSED,
    COLD,
    DISTRIBUTED,
    LOCKSTREAM,
    OPEN,
    POSTGRES,
    PUBLISH_ONLY,
    UNVERSIONED,
)
from bench.processes import Process
from bench.workbench import LOCKS, Workbench, loaded
from operations.organizations.signing import jwks_file
from runtime.ports import free_port, is_free
from runtime.settings import variable_of
from support.postgres import NoPostgres

ALTERNATIVES = {
    "starlette_aiokafka": PUBLISH_ONLY,
    "fastapi_aiokafka": "FastAPI + aiokafka",
    "faststream_kafka": "FastStream",
    "starlette_postgres": POSTGRES,
}
READY_S = 30.0
AT_ONCE_S = 0.001


class Server(msgspec.Struct, frozen=True):
    """Something that takes commands: where, and with which processes."""

    name: str
    plan: Plan
    pids: list[int]


def compare_commands(bench: Workbench) -> None:
    with ExitStack() as started:
        roles = bench.roles()
        started.callback(roles.stop)
        servers = [
            *_start_alternatives(bench, roles, started),
            start_endpoint_alone(bench, started),
            start_lockstream(bench, roles),
        ]
        bench.keep(
            COLD,
            {"server": LOCKSTREAM, "in_flight": 16},
            _numbers(bench, servers[-1], 16, "uniform"),
        )
        # The longest with ours: whatever runs later on this broker finds it warm.
        for server in reversed(servers):
            bench.warm_up(server.plan)
        for in_flight in bench.sizes.in_flight:
            bench.measure(
                [
                    closed_loop(bench, server, in_flight, CLOSED, {"server": server.name})
                    for server in servers
                ]
            )
        lockstream = servers[-1]
        for in_flight in bench.sizes.few_and_many:
            # Uniform again: what stands side by side was measured side by side.
            distributions = ("uniform", "zipf", "one lock")
            bench.measure([_distributed(bench, lockstream, in_flight, d) for d in distributions])
        answering = [server for server in servers if server.name != UNVERSIONED]
        for rate in bench.sizes.rates:
            bench.measure([_open(bench, server, rate) for server in answering])


def start_lockstream(bench: Workbench, roles: Roles) -> Server:
    """Starts all roles of an installation with one partner and the bench's locks."""
    publish(roles.settings, ORG, LOCKS)
    roles.add_partners(1)
    roles.start_all(bench.placement.measured, bench.placement.beside)
    return Server(LOCKSTREAM, roles.plan(LOCKS, bench.sizes.seconds), roles.pids)


def start_endpoint_alone(bench: Workbench, started: ExitStack) -> Server:
    """Starts our endpoint as it is, without projector and fan-out. The endpoint publishes, and
    answers 202 when it has waited for a version as short as it can. Beyond a bare endpoint that
    costs what admission costs; Lockstream costs versions, read model and delivery beyond this."""
    roles = bench.roles(environment={variable_of("answer_timeout"): str(AT_ONCE_S)})
    started.callback(roles.stop)
    project(roles, publish(roles.settings, ORG, LOCKS), bench.placement.beside)
    roles.stop()
    roles.start("api", bench.placement.measured)
    roles.wait_until_ready()
    plan = msgspec.structs.replace(roles.plan(LOCKS, bench.sizes.seconds), status=202)
    return Server(UNVERSIONED, plan, roles.pids)


def _start_alternatives(bench: Workbench, roles: Roles, started: ExitStack) -> list[Server]:
    """Starts the alternatives, which publish to a topic that no projector reads."""
    other = bench.roles()
    found: list[Server] = []
    starting: list[tuple[Process, int]] = []
    for module, name in ALTERNATIVES.items():
        port = free_port(0)
        environment = {
            **os.environ,
            "PORT": str(port),
            "JWKS": str(jwks_file(roles.folder)),
            "KAFKA_BOOTSTRAP_SERVERS": other.settings.kafka_bootstrap_servers,
            "TOPIC": other.settings.topics.lock_facts,
        }
        if "postgres" in module:
            try:
                environment["POSTGRES_URL"] = bench.postgres_url
            except NoPostgres as reason:
                bench.progress.part(f"{name} is left out: {reason}")
                continue
        process = Process(
            [sys.executable, "-m", f"bench.alternatives.{module}"],
            environment,
            bench.folder / f"{module}.log",
            bench.placement.measured,
        )
        started.callback(process.stop)
        starting.append((process, port))
        plan = Plan("127.0.0.1", port, *roles.credentials, LOCKS, bench.sizes.seconds)
        found.append(Server(name, plan, [process.pid]))
    for process, port in starting:
        process.wait_until(lambda port=port: not is_free(port), READY_S)  # type: ignore[misc]
    return found


def closed_loop(
    bench: Workbench,
    server: Server,
    in_flight: int,
    name: str,
    parameters: Mapping[str, Parameter],
    cpus: Sequence[int] = (),
) -> Case:
    """Plans load on locks that are equally likely. ``cpus``: see ``Workbench.load``."""
    plan = msgspec.structs.replace(server.plan, in_flight=in_flight)
    return Case(
        name,
        {"in_flight": in_flight, **parameters},
        lambda: loaded(bench, plan, server.pids, cpus),
    )


def _distributed(bench: Workbench, server: Server, in_flight: int, distribution: str) -> Case:
    return Case(
        DISTRIBUTED,
        {"locks": distribution, "in_flight": in_flight},
        lambda: _numbers(bench, server, in_flight, distribution),
    )


def _numbers(bench: Workbench, server: Server, in_flight: int, distribution: str) -> Numbers:
    plan = msgspec.structs.replace(server.plan, in_flight=in_flight)
    if distribution == "one lock":
        plan = msgspec.structs.replace(plan, locks=LOCKS[:1])
    else:
        plan = msgspec.structs.replace(plan, distribution=distribution)
    return loaded(bench, plan, server.pids)


def _open(bench: Workbench, server: Server, rate: int) -> Case:
    plan = msgspec.structs.replace(server.plan, rate=float(rate))
    return Case(
        OPEN,
        {"server": server.name, "rate": rate},
        lambda: loaded(bench, plan, server.pids),
    )
