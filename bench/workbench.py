"""Holds what all parts of the bench share: the broker, the sizes, the placement, the results."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import msgspec

from bench.load import Outcome, Plan
from bench.lockstream_roles import Roles
from bench.measurement import Case, Measurement, Numbers, interleave
from bench.placement import Placement
from bench.processes import compiler_seconds, cpu_seconds, pin, run_process
from bench.progress import Progress
from bench.sizes import Sizes
from bench.trees import HERE, Tree
from eventlog.local.local_broker import LocalBroker
from support.postgres import PostgresCluster

LOCKS = tuple(range(1000, 1100))
GRACE_S = 40.0
SETTLE_S = 120.0
IDLE_CORES = 0.2
WARM_UP_IN_FLIGHT = (64, 16, 1)
COMPILING_CORES = 0.05


class Workbench:
    """Starts the broker; whatever is started through it ends with it. ``before``: the code that
    this one takes turns with, if any."""

    def __init__(
        self,
        folder: Path,
        sizes: Sizes,
        placement: Placement,
        progress: Progress,
        before: Tree | None = None,
    ) -> None:
        self.before = before
        self.folder = folder
        self.sizes = sizes
        self.placement = placement
        self.progress = progress
        self._found: list[Measurement] = []
        self._started = ExitStack()
        self._count = 0
        self._postgres: PostgresCluster | None = None

    def __enter__(self) -> "Workbench":
        # It logs each attempt on a topic that was made a moment ago; what fails is raised anyway.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self.broker = LocalBroker.start(self.folder / "broker", heap_mib=1024)
        self._started.callback(self.broker.stop)
        pin(self.broker.pid, self.placement.broker)
        return self

    def __exit__(self, *failure: object) -> None:
        self._started.close()

    def roles(
        self,
        *,
        partitions: int = 12,
        read_model: str = "",
        environment: Mapping[str, str] | None = None,
        tree: Tree = HERE,
    ) -> Roles:
        """Makes a new installation; no role runs yet. The caller stops it."""
        self._count += 1
        return Roles(
            self.folder / f"installation-{self._count}",
            self.broker.bootstrap_servers,
            f"bench{self._count}.",
            partitions=partitions,
            read_model=read_model,
            environment=dict(environment or {}),
            tree=tree,
        )

    @property
    def postgres_url(self) -> str:
        """Returns an empty database of a cluster of our own, as durable as PostgreSQL is by
        default.

        Raises:
            NoPostgres: no server is installed.
        """
        if self._postgres is None:
            folder = self.folder / "postgres"
            folder.mkdir()
            self.folder.chmod(0o755)
            self._postgres = PostgresCluster(folder)
            self._postgres.start()
            self._started.callback(self._postgres.stop)
            pin(self._postgres.pid, self.placement.broker)
        return self._postgres.url

    def new_database(self) -> str:
        """Returns the URL of one more empty database.

        Raises:
            NoPostgres: no server is installed.
        """
        url = self.postgres_url
        self._count += 1
        name = f"bench{self._count}"

        async def create() -> None:
            connection = await asyncpg.connect(url)
            try:
                await connection.execute(f"CREATE DATABASE {name}")
            finally:
                await connection.close()

        asyncio.run(create())
        return f"{url.rpartition('/')[0]}/{name}"

    def load(self, plan: Plan, cpus: Sequence[int] = ()) -> Outcome:
        """Runs the load generator once, on these CPUs or where it is placed.

        Raises:
            TimeoutError: it has not ended long after it should have.
        """
        done = run_process(
            [sys.executable, "-m", "bench.load"],
            os.environ,
            plan.seconds + GRACE_S,
            cpus or self.placement.load,
            msgspec.json.encode(plan),
        )
        return msgspec.json.decode(done.output, type=Outcome)

    def measure(self, cases: list[Case], rounds: int = 0) -> list[Measurement]:
        """Runs all cases in turn, ``rounds`` times (as often as the sizes say, if 0)."""
        found = interleave(cases, rounds or self.sizes.rounds, self._say)
        self._found += found
        return found

    def keep(self, name: str, parameters: dict[str, str | int | float], numbers: Numbers) -> None:
        """Keeps what was measured once, on the way."""
        self._say(Case(name, parameters, lambda: numbers), numbers)
        self._found.append(Measurement(name, parameters, [dict(numbers)]))

    def settle(self) -> None:
        """Waits until the broker is done with what came before: a hundred partners leave it busy
        for half a minute. Goes on after two minutes in any case."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            before = cpu_seconds([self.broker.pid])
            time.sleep(1.0)
            if cpu_seconds([self.broker.pid]) - before < IDLE_CORES:
                return

    def take(self) -> list[Measurement]:
        """Returns what was found since the last call."""
        found, self._found = self._found, []
        return found

    def warm_up(self, plan: Plan) -> None:
        """Runs under load until the broker's JVM has compiled what is hot, or for long enough.
        Compiling takes minutes on a slow machine, at the cost of everything else; and what few in
        flight make hot is not what many do."""
        loads = [
            msgspec.structs.replace(plan, in_flight=in_flight, seconds=self.sizes.seconds)
            for in_flight in WARM_UP_IN_FLIGHT
        ]
        deadline = time.monotonic() + self.sizes.longest_warm_up_seconds
        while time.monotonic() < deadline:
            began, before = time.monotonic(), compiler_seconds(self.broker.pid)
            for load in loads:
                self.load(load)
            spent = compiler_seconds(self.broker.pid) - before
            if spent < COMPILING_CORES * (time.monotonic() - began):
                return

    def _say(self, case: Case, numbers: Numbers) -> None:
        self.progress.measured(case.name, case.parameters, numbers)


def loaded(
    bench: Workbench, plan: Plan, pids: Sequence[int], cpus: Sequence[int] = ()
) -> dict[str, float]:
    """Returns the outcome of one run, and what an answer cost: CPU of these processes and the
    broker. ``cpus``: see ``Workbench.load``.

    Raises:
        TimeoutError: there was no answer at all, or the generator hangs.
    """
    brokers = [bench.broker.pid]
    before, broker_before = cpu_seconds(pids), cpu_seconds(brokers)
    outcome = bench.load(plan, cpus)
    answers = outcome.numbers["answers"]
    if not answers:
        raise TimeoutError(f"no answer had status {plan.status}: {outcome.statuses}")
    return {
        **outcome.numbers,
        "cpu_ms": (cpu_seconds(pids) - before) * 1000 / answers,
        "broker_cpu_ms": (cpu_seconds(brokers) - broker_before) * 1000 / answers,
    }
