"""Measures each stage alone: projector and fan-out on a backlog, and readers of the stream."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from bench.backlogs import project, work_off
from bench.bare_transactions import Done
from bench.facts import publish
from bench.lockstream_roles import ORG, Roles
from bench.measurement import Case, Numbers
from bench.names import DRAIN, FANOUT, READERS, TRANSACTIONS
from bench.processes import Finished, cpu_seconds, run_process
from bench.targets import SOME_PARTNERS
from bench.workbench import LOCKS, Workbench
from eventlog.registry import read_registry, write_entries
from operations.shared.installation import Installation
from schemas.primitives import write_time
from schemas.registry import Organization, Partner
from support.postgres import NoPostgres

Run = Callable[[], Finished]
OTHER_ORG = "somebody-else"
READING_S = 3600.0
LEAST_FANOUT_EVENTS = 1_000
PRODUCERS = (1, 12)
GRACE_S = 60.0


def measure_stages(bench: Workbench) -> None:
    backlog = bench.sizes.backlog
    try:
        with_postgres = bench.roles(read_model=bench.new_database())
    except NoPostgres as reason:
        bench.progress.part(f"no PostgreSQL: {reason}")
    else:
        drain(bench, with_postgres, "PostgreSQL", backlog)
    stream = bench.roles()
    read(bench, stream, drain(bench, stream, "SQLite", backlog), bench.sizes.reader_rounds)
    bench.measure([_bare_transactions(bench, producers) for producers in PRODUCERS])
    for partners in bench.sizes.partners:
        events = max(LEAST_FANOUT_EVENTS, bench.sizes.fanout_events // partners)
        _fan_out(bench, partners, events)
    _fan_out(bench, SOME_PARTNERS, bench.sizes.far_behind, skipped=False)


def drain(bench: Workbench, roles: Roles, read_model: str, facts: int) -> int:
    """Measures a projector that starts behind the facts; returns how many there were."""
    total = publish(roles.settings, ORG, LOCKS, facts)
    try:
        worked = project(roles, total, bench.placement.measured)
    finally:
        roles.stop()
    bench.keep(DRAIN, {"read_model": read_model, "facts": facts}, worked.numbers("facts"))
    return total


def _bare_transactions(bench: Workbench, producers: int) -> Case:
    """Measures what a transaction costs with nothing to put together: the floor of both stages."""
    roles = bench.roles()
    servers, topic = roles.settings.kafka_bootstrap_servers, roles.settings.topics.parked_facts
    seconds = bench.sizes.seconds
    command = [sys.executable, "-m", "bench.bare_transactions"]
    command += [servers, topic, str(producers), str(seconds)]

    def run() -> Numbers:
        brokers = [bench.broker.pid]
        before = cpu_seconds(brokers)
        output = run_process(command, os.environ, seconds + GRACE_S).output
        done = msgspec.json.decode(output, type=Done)
        return {
            "transactions_per_second": done.transactions / seconds,
            "cpu_ms": done.cpu_seconds * 1000 / done.transactions,
            "broker_cpu_ms": (cpu_seconds(brokers) - before) * 1000 / done.transactions,
        }

    return Case(TRANSACTIONS, {"producers": producers}, run)


# -- readers -----------------------------------------------------------------------------------


def read(bench: Workbench, roles: Roles, events: int, rounds: int) -> None:
    """Measures readers. What a process needs to start is measured without events, and
    subtracted."""
    empty = bench.roles()
    out = roles.folder / "replayed"

    def verb(*arguments: str) -> Case:
        return _reader(
            " ".join(arguments[:1]),
            events,
            lambda: empty.command(*arguments, seconds=READING_S),
            lambda: roles.command(*arguments, seconds=READING_S),
        )

    def bare(module: str, name: str) -> Case:
        def run(of: Roles) -> Finished:
            topic = of.settings.topics.lock_events
            command = [sys.executable, "-m", f"bench.readers.{module}"]
            servers = of.settings.kafka_bootstrap_servers
            return run_process([*command, servers, topic], os.environ, READING_S)

        return _reader(name, events, lambda: run(empty), lambda: run(roles))

    parquet = ("replay", "--format", "parquet", "--out", str(out))
    bench.measure(
        [
            bare("bare_aiokafka", "bare aiokafka"),
            bare("bare_confluent", "bare confluent-kafka"),
            _named(verb("replay", "--out", f"{out}.ndjson"), "replay to NDJSON"),
            _named(verb(*parquet), "replay to Parquet"),
            verb("rebuild"),
            verb("verify"),
        ],
        rounds,
    )


def _reader(name: str, events: int, on_empty: Run, on_stream: Run) -> Case:
    def run() -> Numbers:
        starting, done = on_empty(), on_stream()
        seconds = max(done.seconds - starting.seconds, 0.001)
        return {
            "events_per_second": events / seconds,
            "cpu_seconds_per_1000_events": (done.cpu_seconds - starting.cpu_seconds)
            * 1000
            / events,
            "start_seconds": starting.seconds,
            "peak_mib": done.peak_mib,
        }

    return Case(READERS, {"reader": name, "events": events}, run)


def _named(case: Case, name: str) -> Case:
    return msgspec.structs.replace(case, parameters={**case.parameters, "reader": name})


# -- fan-out -----------------------------------------------------------------------------------


def _fan_out(bench: Workbench, partners: int, events: int, *, skipped: bool = True) -> None:
    """The more partners, the fewer events: each run looks at about as many. Besides some partners
    that are all far behind, which is what takes the most memory."""
    roles = bench.roles()
    total = publish(roles.settings, ORG, LOCKS, events)
    project(roles, total)
    roles.stop()
    roles.with_installation(_register_other)
    kinds = (("skipped", OTHER_ORG), ("delivered", ORG))
    for kind, org_id in kinds if skipped else kinds[1:]:
        roles.add_partners(partners, org_id, "earliest")
        fanout = roles.start("fanout", bench.placement.measured)
        try:
            worked = work_off(fanout, "fanout", total * partners)
        finally:
            roles.stop()
        bench.keep(
            FANOUT,
            {"events": kind, "partners": partners, "events_each": total},
            worked.numbers("events"),
        )
        roles.with_installation(_remove_partners)


async def _register_other(here: Installation) -> None:
    entry = Organization(id=OTHER_ORG, created_at=write_time(datetime.now(UTC)))
    await write_entries(here.kafka, here.settings.topics.registry, [entry])


async def _remove_partners(here: Installation) -> None:
    topic = here.settings.topics.registry
    entries = (await read_registry(here.kafka, topic)).all(Partner)
    removed = [msgspec.structs.replace(entry, status="removed") for entry in entries]
    await write_entries(here.kafka, topic, removed)
