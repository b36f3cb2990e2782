import pytest
from aiokafka.partitioner import murmur2 as kafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from lockstream.schemas.primitives import MAX_LOCK_ID
from lockstream.schemas.topics import TopicNames, lock_key, murmur2, partition_of


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
    names = TopicNames("t-")
    assert names.lock_facts == "t-lock-facts"
    assert names.lock_events == "t-lock-events"
    assert names.parked_facts == "t-lock-facts.parked"
    assert names.registry == "t-registry"
    assert names.partner_events("acme") == "t-partner.acme.lock-events"
