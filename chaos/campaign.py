"""Runs a campaign: a single broker with every fault that it can have, then a cluster of three."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from chaos.brokers import Brokers
from chaos.data_faults import poison_faults, postgres_faults, sqlite_faults
from chaos.databases import PostgresUnderTest, ReadModelUnderTest, SqliteUnderTest
from chaos.foreign import check_foreign_records
from chaos.history import Broken
from chaos.judgement import judge
from chaos.kafka_faults import cluster_faults, link_faults, single_broker_faults
from chaos.partner_faults import partner_faults
from chaos.ports import PortRange
from chaos.process_faults import process_faults
from chaos.replicas import ROLES
from chaos.report import Report, make_report
from chaos.scene import SESSION_S, Fault, Injection, Scene, run_fault
from chaos.system import System
from operations.shared.console import Advance, progress_bar
from runtime.errors import LockstreamError
from support.postgres import NoPostgres

Tell = Callable[[str], None]

CLUSTER_SHARE = 0.25
ALONE_SHARE = 0.6
"""Of each part's time: faults one by one, with their recoveries measured. The rest: mixed."""
AT_ONCE = 3
MIXED_PAUSE_S = (0.0, 3.0)
SHOWN = 20


class Part(msgspec.Struct):
    """One installation, its faults, and how long they go on."""

    name: str
    faults: Sequence[Fault]
    seconds: float


class Plan(msgspec.Struct, frozen=True):
    """``only``: faults whose name contains this, one by one, again and again; empty: all of them.
    ``patience``: by how much a recovery may exceed its bound."""

    seed: int
    minutes: float
    only: str = ""
    patience: float = 1.0


def shared_out(
    on_one: Sequence[Fault], on_three: Sequence[Fault], only: str, seconds: float
) -> tuple[Part, Part]:
    """Shares out the faults and the time over both parts. With ``only``, a fault that both have is
    injected on the single broker, and faults that only the cluster has get half of the time."""
    share = CLUSTER_SHARE
    if only:
        names = {fault.name for fault in on_one}
        on_one = [fault for fault in on_one if only in fault.name]
        on_three = [f for f in on_three if only in f.name and f.name not in names]
        share = 0.5 if on_one and on_three else float(bool(on_three))
    return (
        Part("one broker", on_one, seconds * (1 - share)),
        Part("three brokers", on_three, seconds * share),
    )


class Campaign:
    def __init__(self, folder: Path, plan: Plan, tell: Tell) -> None:
        self._folder = folder
        self._seed = plan.seed
        self._minutes = plan.minutes
        self._only = plan.only
        self._patience = plan.patience
        self._tell = tell
        self._injections: list[Injection] = []
        self._broken: list[Broken] = []
        self._events = 0
        self._operations = 0

    async def run(self) -> Report:
        seconds = self._minutes * 60
        on_one = [
            *process_faults(),
            *link_faults(),
            *single_broker_faults(),
            *sqlite_faults(),
            *poison_faults(),
            *partner_faults(),
        ]
        on_three = [*cluster_faults(), *postgres_faults(), *_kills()]
        single, cluster = shared_out(on_one, on_three, self._only, seconds)
        await self._run_single(single)
        await self._run_cluster(cluster)
        counted = (self._events, self._operations)
        return make_report(self._seed, self._minutes, self._injections, self._broken, counted)

    async def _run_single(self, part: Part) -> None:
        if not part.faults:
            return
        async with self._single_broker() as system:
            await self._play(part, system, f"{self._seed}-single")
            self._broken += await check_foreign_records(system)

    async def _run_cluster(self, part: Part) -> None:
        if not part.faults:
            return
        try:
            async with self._cluster() as system:
                await self._play(part, system, f"{self._seed}-cluster")
        except (NoPostgres, TimeoutError, LockstreamError) as error:
            self._broken.append(Broken("the cluster could be tested", str(error)))

    # -- installations -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _single_broker(self) -> AsyncIterator[System]:
        folder = self._folder / "single"
        folder.mkdir(parents=True)
        ports = PortRange()
        brokers = Brokers(folder, ports, 1, linked_roles=ROLES)
        async with self._system(folder, brokers, SqliteUnderTest(folder), ports) as system:
            yield system

    @asynccontextmanager
    async def _cluster(self) -> AsyncIterator[System]:
        """Makes the part with a cluster.

        Raises:
            NoPostgres: there is no server to keep the read model.
        """
        folder = self._folder / "cluster"
        folder.mkdir(parents=True)
        ports = PortRange()
        database = await asyncio.to_thread(PostgresUnderTest, folder, ports.take())
        async with self._system(folder, Brokers(folder, ports, 3), database, ports) as system:
            yield system

    @asynccontextmanager
    async def _system(
        self, folder: Path, brokers: Brokers, database: ReadModelUnderTest, ports: PortRange
    ) -> AsyncIterator[System]:
        system = System(folder, brokers, database, ports, Random(self._seed), self._patience)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            stack.push_async_callback(brokers.stop)
            await brokers.start()
            stack.push_async_callback(system.stop)
            await system.start()
            yield system

    # -- the schedule ------------------------------------------------------------------------------

    async def _play(self, part: Part, system: System, seed: str) -> None:
        """Injects each fault alone, in a seeded order, as far as the time goes; then several at
        once."""
        with progress_bar(part.name, int(part.seconds), "s") as advance:
            ticking = asyncio.create_task(_tick(advance, int(part.seconds)))
            try:
                await self._break(part, system, Random(seed))
            finally:
                ticking.cancel()
        await self._settle(system)
        await system.stop_load()
        self._tell(f"{part.name}: judging")
        verdict = await judge(system)
        for broken in verdict.broken[:SHOWN]:
            self._tell(f"  BROKEN {broken.promise}: {broken.detail}")
        self._tell(f"  {verdict.operations:,} commands, {verdict.events:,} events judged")
        self._broken += verdict.broken
        self._events += verdict.events
        self._operations += verdict.operations

    async def _break(self, part: Part, system: System, rng: Random) -> None:
        started_at = time.monotonic()
        self._tell(f"{part.name}: {len(part.faults)} kinds of faults, one by one")
        alone = rng.sample(list(part.faults), len(part.faults))
        if self._only:
            await self._one_by_one(itertools.cycle(alone), system, rng, started_at + part.seconds)
        else:
            await self._one_by_one(alone, system, rng, started_at + part.seconds * ALONE_SHARE)
            self._tell(f"{part.name}: up to {AT_ONCE} at once")
            await self._mixed(part.faults, system, rng, started_at + part.seconds)

    async def _one_by_one(
        self, faults: Iterable[Fault], system: System, rng: Random, until: float
    ) -> None:
        for fault in faults:
            if time.monotonic() > until:
                return
            injection = await run_fault(fault, system, rng, self._patience, alone=True)
            self._note(injection)

    async def _mixed(
        self, faults: Sequence[Fault], system: System, rng: Random, until: float
    ) -> None:
        """Injects several at once; faults that touch the same thing wait for each other."""
        touched: set[str] = set()

        async def keep_going(own: Random) -> None:
            while time.monotonic() < until:
                free = [fault for fault in faults if not fault.touches & touched]
                fault = own.choices(free, [fault.weight for fault in free])[0]
                touched.update(fault.touches)
                try:
                    self._note(await run_fault(fault, system, own, self._patience, alone=False))
                finally:
                    touched.difference_update(fault.touches)
                await asyncio.sleep(own.uniform(*MIXED_PAUSE_S))

        await asyncio.gather(*(keep_going(Random(rng.random())) for _ in range(AT_ONCE)))

    async def _settle(self, system: System) -> None:
        """Waits until all faults are over and recovered from, the last one in time too."""
        system.fleet.withdraw_orders()
        last = Injection("several at once", True, time.monotonic(), 0)
        await Scene(system, Random(0), last, self._patience).recovers("all over", SESSION_S)
        last.ended = time.monotonic()
        self._note(last)

    def _note(self, injection: Injection) -> None:
        self._injections.append(injection)
        if injection.skipped:
            self._tell(f"  {injection.fault}: not injected: {injection.skipped}")
        for measured in injection.measured:
            took = measured.recovery
            self._tell(
                f"  {injection.fault}, {measured.after}: commands {_seconds(took.commands_s)}, "
                f"delivery {_seconds(took.delivery_s)} (bound {measured.bound_s:g} s; with nothing "
                f"broken {_seconds(measured.usual.commands_s)})"
            )
        for broken in injection.broken:
            self._tell(f"  BROKEN {broken.promise}: {broken.detail}")


async def _tick(advance: Advance, seconds: int) -> None:
    for _ in range(seconds):
        await asyncio.sleep(1.0)
        advance(1)


def _kills() -> list[Fault]:
    return [f for f in process_faults() if f.name.startswith(("kill", "restart", "lose"))]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
