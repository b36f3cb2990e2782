"""Under a stream of commands, every service is killed in turn. What was acknowledged must stand in
the log exactly once, and partners must have exactly what they are entitled to."""

import asyncio
import uuid
from collections.abc import Sequence

import httpx
import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.records import Record
from fanout.positions import Positions
from runtime.settings import Settings
from schemas.lock_events import EventHeaders
from schemas.partner_events import decode_envelope
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, positions_of, read_all

pytestmark = pytest.mark.timeout(300)
PARTITIONS = 12
LOCKS = range(1, 13)
CALLERS = 8
ROUNDS = 2


class Acknowledged(msgspec.Struct, frozen=True):
    event_id: str
    lock_id: int
    version: int


class Callers:
    """Half of them repeat a command with its key until it is answered; half ask only once."""

    def __init__(self, caller: Caller) -> None:
        self._base_url = caller.env["BASE_URL"]
        self._credentials = caller.credentials
        self._done = asyncio.Event()
        self.acknowledged: list[Acknowledged] = []
        self.answers: dict[str, set[bytes]] = {}
        self.refused = 0

    async def run(self) -> None:
        async with (
            httpx.AsyncClient(base_url=self._base_url, timeout=10) as client,
            asyncio.TaskGroup() as callers,
        ):
            for number in range(CALLERS):
                callers.create_task(self._call(client, number, keyed=number % 2 == 0))

    def finish(self) -> None:
        self._done.set()

    async def _call(self, client: httpx.AsyncClient, number: int, *, keyed: bool) -> None:
        count = number
        while not self._done.is_set():
            count += 1
            lock_id = LOCKS[count % len(LOCKS)]
            key = str(uuid.uuid4()) if keyed else None
            answered = await self._ask(client, lock_id, key)
            while keyed and not answered:
                answered = await self._ask(client, lock_id, key)

    async def _ask(self, client: httpx.AsyncClient, lock_id: int, key: str | None) -> bool:
        headers = {**self._credentials, **({"Idempotency-Key": key} if key else {})}
        try:
            answer = await client.post(
                f"/locks/{lock_id}/use-temp-key", json={"tempKeyUuid": "k"}, headers=headers
            )
        except httpx.HTTPError:
            await asyncio.sleep(0.05)
            return False
        if answer.status_code != 200:
            await asyncio.sleep(0.05)
            assert answer.status_code in (202, 503), answer.text
            self.refused += answer.status_code == 503
            return False
        body = answer.json()
        self.acknowledged.append(Acknowledged(body["event"]["id"], lock_id, body["version"]))
        if key is not None:
            self.answers.setdefault(key, set()).add(answer.content)
        return True


async def test_kills_lose_repeat_and_misorder_nothing(own_system: RunningSystem) -> None:
    await asyncio.to_thread(own_system.start)
    locks = own_system.folder / "locks.csv"
    locks.write_text("id,org\n" + "".join(f"{n},demo\n" for n in LOCKS))
    await asyncio.to_thread(own_system.lockstream, "lock", "import", str(locks))
    caller = Caller(own_system.env)
    callers = Callers(caller)
    calling = asyncio.create_task(callers.run())
    kafka = Kafka(
        Settings(kafka_bootstrap_servers=own_system.env["KAFKA_BOOTSTRAP_SERVERS"]), "test"
    )
    for _ in range(ROUNDS):
        for role in ("PROJECTOR", "FANOUT", "API"):
            await progress(callers, calling)
            await asyncio.to_thread(own_system.kill, role)
    await progress(callers, calling)
    callers.finish()
    await calling
    caller.close()

    events = await read_all(kafka, "lock-events", PARTITIONS)
    check_acknowledged(callers, events)
    check_versions(events)
    expected = [(r.partition, r.offset) for r in events]

    async def delivered() -> bool:
        return len(await read_all(kafka, own_system.env["PARTNER_TOPIC"], PARTITIONS)) >= len(
            expected
        )

    await eventually(delivered, timeout_s=60)
    delivered_records = await read_all(kafka, own_system.env["PARTNER_TOPIC"], PARTITIONS)
    positions = await positions_of(kafka, "registry")
    check_partner(own_system.env["PARTNER_TOPIC"], positions, delivered_records, events)
    await asyncio.to_thread(own_system.lockstream, "verify")


async def progress(callers: Callers, calling: "asyncio.Task[None]") -> None:
    """Returns when a good number of further commands have been acknowledged."""
    goal = len(callers.acknowledged) + 100

    async def reached() -> bool:
        if calling.done():
            calling.result()
        return len(callers.acknowledged) >= goal

    await eventually(reached, timeout_s=60)


def check_acknowledged(callers: Callers, events: Sequence[Record]) -> None:
    standing: dict[str, list[tuple[int, int]]] = {}
    for record in events:
        headers = EventHeaders.from_kafka(record.headers)
        place = (int(record.key or b"0"), headers.version)
        standing.setdefault(headers.event_id, []).append(place)
    assert all(len(places) == 1 for places in standing.values())
    for answer in callers.acknowledged:
        assert standing[answer.event_id] == [(answer.lock_id, answer.version)]
    assert all(len(answers) == 1 for answers in callers.answers.values())


def check_versions(events: Sequence[Record]) -> None:
    versions: dict[bytes, list[int]] = {}
    for record in events:
        headers = EventHeaders.from_kafka(record.headers)
        versions.setdefault(record.key or b"", []).append(headers.version)
    for found in versions.values():
        assert found == list(range(1, len(found) + 1))


def check_partner(
    topic: str, opening: Positions, delivered: Sequence[Record], events: Sequence[Record]
) -> None:
    """The demo partner is entitled to all events: here, all that there are."""
    for partition in range(PARTITIONS):
        mine = [r for r in delivered if r.partition == partition]
        positions = [opening.read(topic, r) for r in mine]
        assert [p.sequence for p in positions] == list(range(1, len(mine) + 1))
        theirs = [r for r in events if r.partition == partition]
        assert [p.source_offset for p in positions] == [r.offset for r in theirs]
        sent = [str(decode_envelope(r.value or b"").id) for r in mine]
        assert sent == [EventHeaders.from_kafka(r.headers).event_id for r in theirs]
