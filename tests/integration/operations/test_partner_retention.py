"""How long partners' topics keep their records: by the settings, or by `partner set`."""

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.registry import read_registry
from eventlog.topic_setup import delete_topic
from fanout.role import run_fanout
from operations.partners.registration import create_partner
from operations.partners.retention import set_retention
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.registry import Partner
from schemas.topic_configs import RETENTION
from tests.integration.kafka_tools import eventually
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running


async def retention_of(kafka: Kafka, topic: str) -> str:
    async with kafka.admin() as admin:
        return (await admin.topic_setting([topic], RETENTION))[topic]


async def test_a_changed_retention_is_the_topics_and_that_of_one_that_is_made_anew(
    here: Installation, partner: Partner
) -> None:
    topic = here.settings.topics.partner_events("a")
    day_ms = 86_400_000
    assert await retention_of(here.kafka, topic) == str(30 * day_ms)
    done = await lockstream(here, "partner", "set", "a", "--retention", "90d", "--json")
    assert (done.code, done.json["retentionMs"]) == (0, 90 * day_ms)
    assert await retention_of(here.kafka, topic) == str(90 * day_ms)
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    entry = registry.partner("a")
    assert entry is not None
    assert entry == msgspec.structs.replace(partner, retention_ms=90 * day_ms)
    await delete_topic(here.kafka, topic)
    await set_retention(here, "a", 60 * day_ms)

    async def is_made_anew() -> bool:
        try:
            return await retention_of(here.kafka, topic) == str(60 * day_ms)
        except KeyError:
            return False

    async with running(run_fanout, here.settings):
        await eventually(is_made_anew)


async def test_topics_are_made_with_the_retentions_of_the_settings(here: Installation) -> None:
    longer = msgspec.structs.replace(here.settings, partner_retention="45d")
    there = msgspec.structs.replace(here, settings=longer)
    await create_partner(there, "b", "acme", ("*",), "earliest")
    topic = here.settings.topics.partner_events("b")
    assert await retention_of(here.kafka, topic) == str(45 * 86_400_000)


async def test_what_is_to_be_set_has_to_be_named_and_sound_or_nothing_is_changed(
    here: Installation, partner: Partner
) -> None:
    for arguments, told in (
        ((), "name what is to change"),
        (("--retention", "forever"), "--retention: 'forever' is not a duration"),
        (("--types", "LockCreated", "--retention", "0d"), "--retention: '0d' is no time"),
    ):
        done = await lockstream(here, "partner", "set", "a", *arguments)
        assert (done.code, told in done.stderr) == (2, True)
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    assert registry.partner("a") == partner
    with pytest.raises(ConfigurationError, match="there is no partner nobody"):
        await set_retention(here, "nobody", 1_000)
