"""A partner's stage and its registration: a replica that is behind delivers to nobody, and no
partner waits for another's stage to end."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.stage.stage import Stage
from eventlog.tail import Tail
from eventlog.topic_setup import delete_topic, topic_exists
from eventlog.transactional_writer import TransactionalWriter
from fanout.role import run_fanout
from runtime.errors import KafkaUnavailable, StreamViolation
from runtime.process import first_leaf
from runtime.settings import Settings
from schemas.partner_events import decode_envelope
from schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.held_link import HeldLink, held_link
from tests.integration.fanout.test_fanout import Stream, _set, check_sequences, lane_ids
from tests.integration.kafka_tools import eventually
from tests.integration.roles import add_partner, install, running


@pytest.fixture
async def stream(kafka: Kafka, settings: Settings) -> Stream:
    await install(kafka, settings)
    return Stream(kafka, settings)


@pytest.fixture
async def link(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldLink]:
    held = held_link(monkeypatch)
    yield held
    held.open.set()


async def test_a_replica_with_an_old_registration_delivers_nothing_to_the_new_partner(
    stream: Stream, link: HeldLink
) -> None:
    """It slept through a removal, and an addition of the id for another organisation."""
    first = await add_partner(stream.kafka, stream.settings, "a", "acme")
    topic = stream.topics.partner_events("a")
    home = partition_of(1, stream.settings.partitions)
    async with running(run_fanout, stream.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        await link.close()
        for name in lane_ids(stream, "a"):
            await (await TransactionalWriter.fence(stream.kafka, name)).discard()
        await delete_topic(stream.kafka, topic)

        async def gone() -> bool:
            return not await topic_exists(stream.kafka, topic)

        await eventually(gone)
        again = msgspec.structs.replace(first, org_id="bolt", created_at="2026-11-24T00:00:00.000Z")
        await add_partner(stream.kafka, stream.settings, "a", "bolt")
        await _set(stream, again)
        link.asked.clear()
        # The replica's write is refused; it takes the fence over again, and would write.
        await stream.publish(used_event(1, 2))

        async def has_asked_or_delivered() -> bool:
            return link.asked.is_set() or bool(await stream.delivered("a"))

        await eventually(has_asked_or_delivered)
        assert await stream.delivered("a") == []
        link.open.set()
        other = next(n for n in range(2, 99) if partition_of(n, stream.settings.partitions) == home)
        await stream.publish(created_event(other, "bolt"))
        records = await stream.until_delivered("a", 1)
    assert [decode_envelope(r.value or b"").detail.data.lock_id for r in records] == [other]
    check_sequences(records)


async def test_a_stage_that_is_slow_to_stop_delays_no_other_partner_and_is_alone(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one partner there are never two stages in a process."""
    slow, stopping, at_work, most = asyncio.Event(), asyncio.Event(), [0], [0]
    run = Stage.run

    async def counted(stage: Stage, stop: asyncio.Event) -> None:
        if stage._setup.name.label != "partner slow":
            await run(stage, stop)
            return
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        try:
            await run(stage, stop)
            stopping.set()
            await slow.wait()
        finally:
            at_work[0] -= 1

    monkeypatch.setattr(Stage, "run", counted)
    partner = await add_partner(stream.kafka, stream.settings, "slow", "acme")
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("slow", 1)
        await _set(stream, msgspec.structs.replace(partner, status="paused"))
        async with asyncio.timeout(30):
            await stopping.wait()
        await _set(stream, partner)
        await add_partner(stream.kafka, stream.settings, "other", "acme")
        await stream.until_delivered("other", 1)
        await stream.publish(used_event(1, 2))
        await stream.until_delivered("other", 2)
        assert len(await stream.delivered("slow")) == 1
        slow.set()
        await stream.until_delivered("slow", 2)
    assert most == [1]


class Broken:
    """Raises what it is told to, each once, instead of serving the partner ``broken``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.raised: list[Exception] = []
        run = Stage.run

        async def broken(stage: Stage, stop: asyncio.Event) -> None:
            if stage._setup.name.label == "partner broken" and len(self.raised) < len(errors):
                self.raised.append(error := errors[len(self.raised)])
                raise error
            await run(stage, stop)

        monkeypatch.setattr(Stage, "run", broken)


async def test_a_partner_that_fails_as_it_may_is_tried_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(
        monkeypatch,
        KafkaUnavailable("away"),
        ExceptionGroup("", [ExceptionGroup("", [KafkaUnavailable("away")])]),
        ExceptionGroup("", [StreamViolation("stopped")]),
    )
    await add_partner(stream.kafka, stream.settings, "broken", "acme")
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("broken", 1)
    assert len(broken.raised) == 3


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("unforeseen"),
        ExceptionGroup("", [KafkaUnavailable("away"), ZeroDivisionError("unforeseen")]),
    ],
    ids=["alone", "beside another"],
)
async def test_a_partner_that_fails_as_nobody_foresaw_ends_the_process_with_its_reason(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its supervisor starts it again; swallowed, the partner would get nothing, in silence."""
    Broken(monkeypatch, error)
    await add_partner(stream.kafka, stream.settings, "fine", "acme")
    await add_partner(stream.kafka, stream.settings, "broken", "acme")
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(30):
            await run_fanout(stream.settings, asyncio.Event())
    matched, _ = ended.value.split(ZeroDivisionError)
    assert matched is not None
    assert isinstance(first_leaf(matched), ZeroDivisionError)


async def test_a_tail_that_can_not_reach_an_offset_says_so(stream: Stream) -> None:
    tail = Tail(stream.kafka, {stream.topics.registry: {0: 0}}, lambda topic, records: None)
    with pytest.raises(KafkaUnavailable, match=r"registry\[0\] is not read up to 7"):
        await tail.until(stream.topics.registry, 0, 7, 0.05)
