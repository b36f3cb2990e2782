import pytest
from aiokafka.partitioner import murmur2 as kafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.primitives import MAX_LOCK_ID
from schemas.topics import (
    LockTopics,
    collides,
    lock_key,
    murmur2,
    partition_of,
)


@given(st.binary(max_size=64))
def test_murmur2_is_kafkas_own(data: bytes) -> None:
    assert murmur2(data) == kafka_murmur2(data) & 0xFFFFFFFF


@given(st.integers(1, MAX_LOCK_ID), st.integers(1, 1000))
def test_a_lock_has_one_partition_and_it_exists(lock_id: int, partitions: int) -> None:
    partition = partition_of(lock_id, partitions)
    assert 0 <= partition < partitions
    assert partition == (kafka_murmur2(lock_key(lock_id)) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(("lock_id", "partition"), [(123, 5), (1, 3), (7, 3), (1000, 10)])
def test_partitions_of_known_locks_never_change(lock_id: int, partition: int) -> None:
    """Another answer would split these locks' histories in every installation there is."""
    assert partition_of(lock_id, 12) == partition


def test_one_prefix_renames_all_topics() -> None:
    names = LockTopics("t-", 4)
    assert names.lock_facts == "t-lock-facts"
    assert names.lock_events == "t-lock-events"
    assert names.parked_facts == "t-lock-facts.parked"
    assert names.registry == "t-registry"
    assert names.partner_events("acme") == "t-partner.acme.lock-events"
    assert names.partner_replay("acme", 3) == "t-partner.acme.lock-events.replay.3"


def test_groups_have_their_names_for_ever() -> None:
    """Other names would lose the offsets of every installation there is."""
    names = LockTopics("t-", 4)
    assert names.projector_group == "t-projector"
    assert names.fanout_group("acme") == "t-fanout.acme"
    assert names.replay_group("acme", 3) == "t-fanout.acme/replay.3"


@pytest.mark.parametrize(
    ("topic", "partner"),
    [
        ("t-partner.acme.lock-events", "acme"),
        ("t-partner.a.b.lock-events", "a.b"),
        ("t-partner..lock-events", None),
        ("partner.acme.lock-events", None),
        ("t-partner.acme.lock-facts", None),
        ("t-lock-events", None),
        ("t-partner.acme.lock-events.replay.3", None),
    ],
)
def test_a_partners_topic_says_whose_it_is(topic: str, partner: str | None) -> None:
    assert LockTopics("t-", 4).partner_of(topic) == partner


@pytest.mark.parametrize(
    ("topic", "replay"),
    [
        ("t-partner.acme.lock-events.replay.3", ("acme", 3)),
        ("t-partner.a.b.lock-events.replay.12", ("a.b", 12)),
        ("t-partner.acme.lock-events.replay.0", None),
        ("t-partner.acme.lock-events.replay.03", None),
        ("t-partner.acme.lock-events.replay.3x", None),
        ("t-partner.acme.lock-events.replay.", None),
        ("t-partner.acme.lock-events", None),
        ("t-partner.acme.replay.3", None),
        ("partner.acme.lock-events.replay.3", None),
        ("t-partner..lock-events.replay.3", None),
    ],
)
def test_a_replays_topic_says_whose_it_is_and_which(
    topic: str, replay: tuple[str, int] | None
) -> None:
    assert LockTopics("t-", 4).replay_of(topic) == replay


def test_names_that_kafka_takes_for_one_collide() -> None:
    assert collides("a.b_c", "a_b.c")
    assert collides("a_b", "a_b")
    assert not collides("a.b", "a-b")
    assert not collides("a.b", "ab")


def test_the_key_of_a_lock_is_its_number() -> None:
    assert lock_key(2**63 - 1) == b"9223372036854775807"


@pytest.mark.parametrize(
    ("group", "owner"),
    [
        ("t-acme", "acme"),
        ("t-acme.test", "acme"),
        ("t-acme.eu.one", "acme.eu"),
        ("t-acme.eu", "acme.eu"),
        ("t-acme.europe", "acme"),
        ("t-acmeeu", None),
        ("t-acme-eu", None),
        ("acme", None),
        ("t-projector", None),
        ("t-fanout.acme", None),
        ("t-fanout", "fanout"),
        ("t-", None),
        ("t-.acme", None),
    ],
)
def test_a_group_is_the_partners_whose_id_it_is_or_begins_with(
    group: str, owner: str | None
) -> None:
    ids = {"acme", "acme.eu", "fanout", "projector"}
    assert LockTopics("t-", 4).owner_of_group(group, ids) == owner
