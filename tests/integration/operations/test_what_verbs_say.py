"""Verbs do what they say: on a real registry, real topics and a real read model."""

from datetime import UTC, datetime

import pytest

from lockstream.eventlog.installation import topic_exists
from lockstream.operations.installation import Installation
from lockstream.operations.keys import _revoke, create_key
from lockstream.operations.partner_registration import create_partner
from lockstream.operations.partners import _remove, _set_status
from lockstream.operations.rebuild import rebuild_read_model
from lockstream.operations.replay import _chosen
from lockstream.read_model.fold import CommittedEvent, Stretch
from lockstream.runtime.errors import ConfigurationError
from lockstream.schemas.lock_events import encode_event
from lockstream.schemas.primitives import write_time
from lockstream.schemas.registry import Partner
from lockstream.schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.kafka_tools import read_all, write_raw


async def add(here: Installation, begin: str = "earliest") -> Partner:
    return await create_partner(here, "crm", "acme", ("*",), begin)


async def test_a_partner_begins_at_the_time_that_it_is_added_from(here: Installation) -> None:
    stream, topics = Stream(here.kafka, here.settings), here.settings.topics
    for event in (created_event(), used_event(), used_event(version=3)):
        await stream.publish(event)
    records = await read_all(here.kafka, topics.lock_events, here.settings.partitions)
    second, third = records[1:]
    assert second.timestamp_ms < third.timestamp_ms
    moment = datetime.fromtimestamp(third.timestamp_ms / 1000, UTC)
    assert (await add(here, write_time(moment))).start_offsets[third.partition] == third.offset


async def test_a_removed_partner_is_not_resumed(here: Installation) -> None:
    await add(here)
    await _remove(here, "crm", with_topic=False)
    for status in ("active", "paused"):
        with pytest.raises(ConfigurationError, match="there is no partner crm"):
            await _set_status(here, "crm", status)


async def test_a_topic_that_was_left_is_not_given_to_the_next_partner(here: Installation) -> None:
    await add(here)
    own = here.settings.topics.partner_events("crm")
    await write_raw(here.kafka, own, 0, b"7", b"delivered once")
    await _remove(here, "crm", with_topic=False)
    assert await topic_exists(here.kafka, own)
    with pytest.raises(ConfigurationError, match="left from an earlier partner"):
        await add(here)
    await _remove(here, "crm", with_topic=True)
    assert not await topic_exists(here.kafka, own)
    await add(here)


async def test_the_first_revocation_of_a_key_counts(here: Installation) -> None:
    entry, _ = await create_key(here, "acme", None)
    first = await _revoke(here, entry.key_id)
    again = await _revoke(here, entry.key_id)
    assert first.revoked_at is not None
    assert again.revoked_at == first.revoked_at


async def test_a_rebuild_leaves_nothing_that_the_log_does_not_hold(here: Installation) -> None:
    stream = Stream(here.kafka, here.settings)
    await stream.publish(created_event(1))
    forged = created_event(7)
    stretch = Stretch(
        partition_of(7, here.settings.partitions),
        0,
        1,
        events=[CommittedEvent(0, 0, forged, encode_event(forged))],
    )
    await here.read_model.apply([stretch])
    rebuilt = await rebuild_read_model(here)
    assert rebuilt.events == 1
    assert set(await here.read_model.locks([1, 7])) == {1}
    assert await here.read_model.event(forged.event_id) is None


def test_one_partition_is_replayed_where_one_is_named() -> None:
    assert _chosen(None, 3) == [0, 1, 2]
    assert _chosen(2, 3) == [2]
    with pytest.raises(ConfigurationError, match="partitions 0 to 2"):
        _chosen(3, 3)
