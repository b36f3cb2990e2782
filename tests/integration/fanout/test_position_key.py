"""The key of positions: made once, kept for ever, and missed rather than replaced."""

import asyncio

import pytest

from eventlog.kafka import Kafka
from eventlog.records import Output
from eventlog.registry import read_registry
from fanout.position_key import ensure_position_key
from fanout.role import run_fanout
from runtime.settings import Settings
from schemas.partner_events import PartnerPosition
from schemas.registry import PositionKey, entry_key
from tests.examples_of import created_event, used_event
from tests.integration.fanout.test_fanout import Stream, _said
from tests.integration.kafka_tools import eventually, positions_of, read_all
from tests.integration.roles import add_partner, install, running


@pytest.fixture
async def stream(kafka: Kafka, settings: Settings) -> Stream:
    await install(kafka, settings)
    return Stream(kafka, settings)


async def key_of(stream: Stream) -> PositionKey | None:
    return (await read_registry(stream.kafka, stream.topics.registry)).position_key


async def test_those_who_start_together_make_one_key_and_later_ones_none(stream: Stream) -> None:
    registry = stream.topics.registry
    await asyncio.gather(*(ensure_position_key(stream.kafka, registry) for _ in range(3)))
    made = await key_of(stream)
    assert made is not None
    await ensure_position_key(stream.kafka, registry)
    assert await key_of(stream) == made
    written = [r for r in await read_all(stream.kafka, registry, 1) if r.key == entry_key(made)]
    assert len(written) == 1


async def test_a_partner_sees_nothing_of_how_much_all_others_record(stream: Stream) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await stream.publish(created_event(1))
    for version in range(2, 20):
        await stream.publish(used_event(1, version, org_id="bolt"))
    await stream.publish(used_event(1, 20))
    async with running(run_fanout, stream.settings):
        records = await stream.until_delivered("a", 2)
    positions = await positions_of(stream.kafka, stream.topics.registry)
    topic = stream.topics.partner_events("a")
    first, last = (positions.read(topic, record).source_offset for record in records)
    assert last - first >= 19
    for record in records:
        told = PartnerPosition.from_kafka(record.headers)
        assert told.source_offset is None
        shown = {name: value for name, value in record.headers if name != "position"}
        assert not any(value.isdigit() for name, value in shown.items() if name != "sequence")


async def test_a_partner_whose_key_was_lost_stops_and_is_sent_nothing_again(
    stream: Stream, logged_errors: list[str]
) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 1)
    lost = await key_of(stream)
    assert lost is not None
    async with stream.kafka.idempotent_producer() as producer:
        tombstone = Output(stream.topics.registry, entry_key(lost), None)
        await producer.send_and_wait(tombstone, 0)
    await stream.publish(used_event(1, 2))
    async with running(run_fanout, stream.settings):
        await eventually(lambda: _said(logged_errors, "none of this installation's"))
    assert len(await stream.delivered("a")) == 1
    logged_errors.clear()
