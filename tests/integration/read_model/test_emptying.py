"""An emptied read model, seen by those who read and fold meanwhile: all of it, or nothing at all.
On SQLite and on PostgreSQL."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.util import await_only

from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.folding import ReadModelMoved
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import EMPTIED, LOCK_EVENTS, PARKED_FACTS, positions
from runtime.settings import Settings
from schemas.lock_events import Event, encode_event
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, created_event, used_event
from tests.integration.conftest import open_read_model

HISTORY: list[Event] = [created_event(), used_event(version=2), used_event(version=3, used_count=2)]
EVENTS = Stretch(
    0, 0, 3, events=[CommittedEvent(i, i, e, encode_event(e)) for i, e in enumerate(HISTORY)]
)
PARKED = Stretch(
    0,
    0,
    1,
    parked=[
        ParkedFact(
            0,
            ParkedHeaders(
                "unknown-lock", "no lock 9", "lock-facts", 3, TIME, str(HISTORY[0].event_id), 9
            ),
        )
    ],
)


async def fill(model: ReadModel) -> None:
    await model.apply_parked([PARKED])
    await model.apply([EVENTS])


@pytest.fixture
async def other(read_model: ReadModel, settings: Settings) -> AsyncIterator[ReadModel]:
    """The same model, opened by somebody else."""
    url = read_model._database._url.render_as_string(hide_password=False)
    opened = open_read_model(settings, url)
    yield opened
    await opened.close()


class Interleaved:
    """Lets others step in before the ``gap``-th statement of the next reading."""

    def __init__(self, model: ReadModel, step: Callable[[], Awaitable[None]], gap: int) -> None:
        self._model = model
        self._step = step
        self._gap = gap
        self._loop = asyncio.get_running_loop()
        self.statements = 0

    async def read(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        engine = await self._model._database._connections.read(lambda c: c.engine)
        event.listen(engine, "before_cursor_execute", self._before)
        try:
            return await ask()
        finally:
            event.remove(engine, "before_cursor_execute", self._before)

    def _before(self, *_: Any) -> None:
        number, self.statements = self.statements, self.statements + 1
        if number != self._gap:
            return
        if self._model._database.is_sqlite:
            asyncio.run_coroutine_threadsafe(_run(self._step), self._loop).result(30)
        else:
            await_only(self._step())


async def _run(step: Callable[[], Awaitable[None]]) -> None:
    await step()


class Emptying:
    """Begun by ``step``, which returns when it has ended, or waits for whoever reads."""

    def __init__(self, model: ReadModel, watcher: ReadModel) -> None:
        self._model = model
        self._watcher = watcher
        self.task: asyncio.Future[int] | None = None

    async def step(self) -> None:
        self.task = asyncio.ensure_future(self._model.reset())
        while not self.task.done() and not await self._waits():  # noqa: ASYNC110 - outside
            await asyncio.sleep(0.005)

    async def _waits(self) -> bool:
        database = self._watcher._database
        if database.is_sqlite:
            return False
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE datname = current_database() AND NOT granted"
        )
        return bool(await database._connections.read(lambda c: c.scalar(text(waiting))))


def known(model: ReadModel) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        found = await model.known(0, [7], [(7, "key-1")], [HISTORY[1].event_id], [])
        return (
            found.position.next_offset,
            len(found.locks),
            len(found.used_counts),
            len(found.event_ids),
        )

    return ask


def lock(model: ReadModel) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        row, position = await model.lock(7, 0)
        return position.next_offset, int(row is not None)

    return ask


def tables(*order: int) -> Callable[[ReadModel], Callable[[], Awaitable[object]]]:
    """Whatever else may be asked for, one table after the other."""
    asked = [*EMPTIED, positions]

    def count(connection: Connection) -> object:
        return tuple(
            connection.scalar(
                select(func.sum(positions.c.next_offset))
                if asked[n] is positions
                else select(func.count()).select_from(asked[n])
            )
            for n in order
        )

    return lambda model: lambda: model._database.read(count)


READINGS = {
    "known": known,
    "lock": lock,
    **{
        f"tables {order}": tables(*order)
        for order in itertools.islice(itertools.permutations(range(5)), 0, None, 13)
    },
}


@pytest.mark.parametrize("reading", READINGS)
async def test_whoever_reads_sees_all_of_the_model_or_an_empty_one_with_its_empty_position(
    read_model: ReadModel, other: ReadModel, settings: Settings, reading: str
) -> None:
    ask = READINGS[reading](read_model)
    nothing = await ask()
    await fill(read_model)
    everything = await ask()
    assert everything != nothing
    seen = []
    for gap in range(20):
        emptying = Emptying(other, read_model)
        interleaved = Interleaved(read_model, emptying.step, gap)
        answer = await interleaved.read(ask)
        if emptying.task is None:
            break
        await emptying.task
        assert answer in (everything, nothing), f"emptied before statement {gap}"
        seen.append(answer)
        assert await ask() == nothing
        await fill(read_model)
    # The hook does step in, and before each of the statements.
    assert len(seen) >= 2
    assert seen[-1] == everything


@pytest.mark.parametrize("reading", ["known", "lock"])
async def test_whoever_reads_sees_a_fold_whole_or_not_at_all(
    read_model: ReadModel, other: ReadModel, reading: str
) -> None:
    """Rows of after it beside a position of before it would make a count or a version wrong."""
    ask = READINGS[reading](read_model)
    nothing = await ask()
    seen = []
    for gap in range(20):
        folded = asyncio.Event()

        async def step(folded: asyncio.Event = folded) -> None:
            await fill(other)
            folded.set()

        answer = await Interleaved(read_model, step, gap).read(ask)
        if not folded.is_set():
            break
        everything = await ask()
        assert everything != nothing
        assert answer in (nothing, everything), f"folded before statement {gap}"
        seen.append(answer)
        await other.reset()
    assert nothing in seen


async def test_readers_folders_and_emptyings_never_stand_in_each_others_way(
    read_model: ReadModel, other: ReadModel, settings: Settings
) -> None:
    """Any error, as of a deadlock, fails it."""
    url = read_model._database._url.render_as_string(hide_password=False)
    folder, second = open_read_model(settings, url), open_read_model(settings, url)
    ended = asyncio.Event()
    wrong: list[object] = []

    async def read(number: int) -> None:
        ask, model = list(READINGS.values())[number], (read_model, folder)[number % 2]
        asked = ask(model)
        answers = set()
        while not ended.is_set():
            answers.add(await asked())
        # Folding is not one transaction with parking: but events come with all that is theirs.
        if number < 2 and len(answers) > 2:
            wrong.append(answers)

    async def fold() -> None:
        while not ended.is_set():
            try:
                await fill(folder)
            except ReadModelMoved:
                pytest.fail("nothing is missing before the first stretch")

    async def empty(model: ReadModel, times: int) -> None:
        for _ in range(times):
            await model.reset()
            await fill(model)

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(read(number))
        tasks.create_task(fold())
        emptyings = [tasks.create_task(empty(model, 25)) for model in (other, second)]
        await asyncio.wait(emptyings)
        ended.set()
    assert not wrong
    await fill(read_model)
    assert (await read_model.positions(LOCK_EVENTS))[0] == Position(3, 2, -1)
    assert (await read_model.positions(PARKED_FACTS))[0].source_offset == 3
    await folder.close()
    await second.close()


async def test_what_follows_on_an_emptied_model_is_refused_though_it_was_filled_again(
    read_model: ReadModel,
) -> None:
    """Events by a gap, at the latest; but parked facts may have gaps."""
    before = (await read_model.progress()).generation
    await fill(read_model)
    generation = await read_model.reset()
    assert generation != before
    await fill(read_model)
    await read_model.prepare()
    assert (await read_model.progress()).generation == generation
    later = msgspec.structs.replace(PARKED, begin=1, end=1, parked=(), generation=before)
    with pytest.raises(ReadModelMoved):
        await read_model.apply_parked([later])
    with pytest.raises(ReadModelMoved):
        await read_model.apply([msgspec.structs.replace(EVENTS, generation=before)])
    await read_model.apply_parked([msgspec.structs.replace(later, generation=generation)])
    await read_model.apply([msgspec.structs.replace(EVENTS, generation=generation)])
    assert (await read_model.known(0, [], [], [], [])).generation == generation
