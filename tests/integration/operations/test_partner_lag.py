"""`partner lag` counts what is a partner's own."""

from datetime import timedelta

from fanout.role import run_fanout
from operations.partners.changes import pause_partner
from operations.partners.lag import read_lag
from operations.partners.registration import create_partner
from operations.shared.installation import Installation
from schemas.primitives import read_time
from schemas.registry import Partner
from schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.fanout.test_reading import commit
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running


async def test_lag_counts_each_partners_own_events_also_while_it_is_paused(
    here: Installation, stream: Stream, partner: Partner
) -> None:
    await create_partner(here, "b", "bolt", ("*",), "earliest", force=True)
    await stream.publish(created_event(1), created_event(2, "bolt"))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 1)
        await stream.until_delivered("b", 1)
        await pause_partner(here, "a")
        await stream.publish(*(used_event(2, n, org_id="bolt") for n in range(2, 7)))
        await stream.publish(used_event(1, 2))
        await stream.until_delivered("b", 6)
    a, b = await read_lag(here)
    assert (a.partner.status, a.undelivered, a.unread.records) == ("paused", 1, 1)
    assert (b.undelivered, b.unread.records) == (0, 6)
    done = await lockstream(here, "partner", "lag", "--json")
    assert [(row["id"], row["status"], row["lag"], row["unread"]) for row in done.json] == [
        ("a", "paused", 1, 1),
        ("b", "active", 0, 6),
    ]
    assert done.json[1]["groups"] == []
    assert done.json[1]["oldestUnreadSeconds"] > 0
    until = read_time(done.json[1]["retainedUntil"]) - read_time(done.json[1]["oldestUnreadAt"])
    assert until == timedelta(days=30)
    await commit(stream, "b", "b", {partition_of(2, here.settings.partitions): 0})
    table = (await lockstream(here, "partner", "lag")).stdout.decode()
    assert "retained until" in table
    assert f"{here.settings.topic_prefix}b " in table
