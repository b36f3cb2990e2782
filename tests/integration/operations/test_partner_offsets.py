"""`partner offsets` finds the events of a time, whenever they were delivered."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from eventlog.topic_setup import delete_topic
from fanout.role import run_fanout
from operations.partners.lag import read_lag
from operations.partners.offsets import Place, find_offsets, read_at
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.primitives import read_time, write_time
from schemas.registry import Partner
from schemas.topics import lock_key, partition_of
from tests.examples_of import TIME, created_event, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.fanout.test_reading import commit
from tests.integration.kafka_tools import write_raw
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running


async def test_the_first_record_that_did_not_happen_before_a_time_is_found_in_each_partition(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    """It is delivered now, and happened then: Kafka's own search would find none of it."""
    home, numbers = partition_of(1, here.settings.partitions), here.settings.topics.numbers
    hours = (10, 8, 12, 9, 13)
    for n, hour in enumerate(hours):
        event = used_event(1, n + 1)
        happened = f"2026-01-05T{hour:02}:00:00.000Z"
        await stream.publish(msgspec.structs.replace(event, occurred_at=happened))
    async with running(run_fanout, here.settings):
        records = await stream.until_delivered("a", len(hours))

    async def found(at: str) -> int | None:
        offsets = await find_offsets(here, "a", read_time(at))
        (place,) = [place for place in offsets.places if place.partition == home]
        others = [place for place in offsets.places if place.partition != home]
        assert others == [Place(number, 0, None) for number in numbers if number != home]
        return next((n for n, r in enumerate(records) if r.offset == place.offset), None)

    assert await found("2026-01-05T07:00:00Z") == 0
    assert await found("2026-01-05T10:00:00Z") == 0
    assert await found("2026-01-05T10:00:00.001Z") == 2
    assert await found("2026-01-05T14:00:00+01:00") == 4
    end = await find_offsets(here, "a", read_time("2026-01-05T13:00:01Z"))
    assert end.places[home].offset > records[-1].offset
    assert end.places[home].time is None
    done = await lockstream(here, "partner", "offsets", "--id", "a", "--at", "2026-01-05", "--csv")
    topic = here.settings.topics.partner_events("a")
    assert done.stdout.decode().splitlines() == [f"{topic},{number},0" for number in numbers]
    told = await lockstream(
        here, "partner", "offsets", "--id", "a", "--at", "2026-01-05T11:00:00Z", "--json"
    )
    assert told.json["partitions"][home] == {
        "partition": home,
        "offset": records[2].offset,
        "time": "2026-01-05T12:00:00.000Z",
    }


async def test_a_reader_that_is_set_to_these_offsets_goes_on_there(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    await stream.publish(created_event(1))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 1)
    offsets = await find_offsets(here, "a", read_time(TIME))
    await commit(stream, "a", "a", {place.partition: place.offset for place in offsets.places})
    (found,) = await read_lag(here)
    assert found.unread.records == 1


async def test_a_time_that_is_none_and_a_partner_without_a_topic_are_refused(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    for text in ("soon", "", "12:00"):
        with pytest.raises(ConfigurationError, match=r"--at: .* is not a time"):
            read_at(text, datetime.now(UTC))
    to_come = datetime.now(UTC) + timedelta(minutes=5)
    with pytest.raises(ConfigurationError, match="is yet to come"):
        read_at(write_time(to_come), datetime.now(UTC))
    with pytest.raises(ConfigurationError, match="there is no partner nobody"):
        await find_offsets(here, "nobody", to_come)
    await delete_topic(here.kafka, here.settings.topics.partner_events("a"))
    with pytest.raises(ConfigurationError, match="has no topic"):
        await find_offsets(here, "a", to_come)
    both = await lockstream(
        here, "partner", "offsets", "--id", "a", "--at", "2026-01-05", "--csv", "--json"
    )
    assert (both.code, "choose one of them" in both.stderr) == (2, True)


async def test_a_foreign_record_is_passed_over_and_named(
    here: Installation, partner: Partner, capfd: pytest.CaptureFixture[str]
) -> None:
    topic = here.settings.topics.partner_events("a")
    await write_raw(here.kafka, topic, 0, lock_key(1), b"foreign")
    found = await find_offsets(here, "a", read_time(TIME))
    assert found.places[0] == Place(0, 1, None)
    assert "0:0 is passed over" in capfd.readouterr().err
