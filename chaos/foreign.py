"""Writes records that no service of ours has written to `lock-events` and a partner's topic. They
must be detected, and not spread. They stop for good what reads them, so they come last."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence

from chaos.history import Broken
from chaos.judgement import VERIFY_S
from chaos.system import PARTITIONS, PARTNERS, System
from eventlog.kafka import stable_ends
from eventlog.records import Output
from operations.running.probes import ask
from schemas.records import Place
from schemas.topics import lock_key

DETECTED_S = 60.0
VALUE = b'{"type":"TempKeyUsed","forged":true}'


async def check_foreign_records(system: System) -> list[Broken]:
    """Writes foreign records, when the load has ended and everything is delivered."""
    topics = system.settings.topics
    partner_topics = [topics.partner_events(partner) for partner in PARTNERS]
    before = [await _ends(system, topic) for topic in partner_topics]
    in_stream = await _forge(system, topics.lock_events)

    async def fanout_says_so() -> bool:
        pages = [replica.url for replica in system.fleet.running("fanout")]
        said = [await asyncio.to_thread(ask, page) for page in pages]
        reasons = [reason for page in said for reason in page.obstacles.values()]
        return any(f"{topics.lock_events}[0]" in reason for reason in reasons)

    said = await _eventually(fanout_says_so)
    spread = [await _ends(system, topic) for topic in partner_topics] != before
    in_partner = await _forge(system, partner_topics[0])
    _, output = await system.lockstream("verify", "--json", timeout_s=VERIFY_S)
    places = ((topics.lock_events, in_stream), (partner_topics[0], in_partner))
    return judge_foreign(output, places, said=said, spread=spread)


def judge_foreign(
    output: str, places: Sequence[tuple[str, int]], *, said: bool, spread: bool
) -> list[Broken]:
    """``output``: of `verify`, which names the records at ``places``, topic and offset. ``said``:
    whether the fan-out told of it; ``spread``: whether a partner got something. Pure."""
    broken: list[Broken] = []
    if not said:
        broken.append(Broken("a foreign record is detected", "/readyz of the fan-out is silent"))
    if spread:
        broken.append(Broken("a foreign record is not spread", "a partner got something"))
    for topic, offset in places:
        if not _names(output, topic, offset):
            place = Place(topic, 0, offset)
            broken.append(Broken("verify names a foreign record", f"{place}: {output[-500:]}"))
    return broken


async def _forge(system: System, topic: str) -> int:
    async with system.kafka.idempotent_producer() as producer:
        return (await producer.send_and_wait(Output(topic, lock_key(1), VALUE), 0)).offset


async def _ends(system: System, topic: str) -> dict[int, int]:
    return await stable_ends(system.kafka, topic, list(range(PARTITIONS)))


def _names(output: str, topic: str, offset: int) -> bool:
    for line in output.splitlines():
        if line.startswith("{"):
            shown = json.loads(line)["shown"]
            return any(v["topic"] == topic and v["offset"] == offset for v in shown)
    return False


async def _eventually(condition: Callable[[], Awaitable[bool]]) -> bool:
    deadline = time.monotonic() + DETECTED_S
    while time.monotonic() < deadline:
        if await condition():
            return True
        await asyncio.sleep(0.2)
    return False
