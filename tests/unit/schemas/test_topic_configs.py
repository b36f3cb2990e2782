"""How the topics of an installation are made: what they keep is what the system rests on."""

from schemas.topic_configs import Retentions, lock_topics, partner_topic, replay_topic
from schemas.topics import LockTopics

DAY_MS = 86_400_000
LARGEST = str(2 * 1_048_588)
"""Twice what Kafka takes into the input: an output has headers of ours besides."""


def test_the_stream_and_the_registry_are_kept_for_ever_and_the_rest_for_its_time() -> None:
    facts, events, parked, registry = lock_topics(LockTopics("t-", 5))
    assert [t.name for t in (facts, events, parked, registry)] == [
        "t-lock-facts",
        "t-lock-events",
        "t-lock-facts.parked",
        "t-registry",
    ]
    assert [t.partitions for t in (facts, events, parked, registry)] == [5, 5, 5, 1]
    assert facts.config == {"retention.ms": str(7 * DAY_MS)}
    for kept in (events, registry):
        assert (kept.config["retention.ms"], kept.config["retention.bytes"]) == ("-1", "-1")
    assert "cleanup.policy" not in events.config
    assert registry.config["cleanup.policy"] == "compact"
    assert parked.config == {"retention.ms": str(30 * DAY_MS), "max.message.bytes": LARGEST}
    assert events.config["max.message.bytes"] == LARGEST


def test_a_partners_topic_has_a_partition_for_each_of_the_streams() -> None:
    topic = partner_topic(LockTopics("t-", 5), "crm")
    assert (topic.name, topic.partitions) == ("t-partner.crm.lock-events", 5)
    assert topic.config == {"retention.ms": str(30 * DAY_MS), "max.message.bytes": LARGEST}


def test_what_is_kept_for_a_time_is_kept_as_long_as_it_is_told() -> None:
    topics, keep = LockTopics("t-", 5), Retentions(facts_ms=1, parked_ms=2, partner_ms=3)
    facts, events, parked, registry = lock_topics(topics, keep)
    assert [t.config["retention.ms"] for t in (facts, events, parked, registry)] == [
        "1",
        "-1",
        "2",
        "-1",
    ]
    assert partner_topic(topics, "crm", keep.partner_ms).config["retention.ms"] == "3"


def test_a_replays_topic_is_like_its_partners_and_is_kept_for_a_week() -> None:
    topic = replay_topic(LockTopics("t-", 5), "crm", 3)
    assert (topic.name, topic.partitions) == ("t-partner.crm.lock-events.replay.3", 5)
    assert topic.config == {"retention.ms": str(7 * DAY_MS), "max.message.bytes": LARGEST}
