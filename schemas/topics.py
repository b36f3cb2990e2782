"""Names topics, and says which partition a lock lives in.

All lock topics of one installation have the same partition count, so partition ``p`` of one topic
holds the same locks as partition ``p`` of another.
"""

import re
from collections.abc import Collection
from functools import lru_cache

import msgspec

REPLAY = ".replay."
"""Stands between the name of a partner's topic and the number of a replay."""
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")
DAY_MS = 24 * 60 * 60 * 1000
MAX_RECORD_BYTES = 1_048_588
"""Kafka's own default for ``max.message.bytes``."""
MAX_TOPIC_NAME = 249
"""Source: ``org.apache.kafka.common.internals.Topic``."""
MAX_OUTPUT_BYTES = 2 * MAX_RECORD_BYTES
"""Of the topics that a stage writes: the largest record that Kafka takes into their input must
still fit with our headers added."""


class LockTopics(msgspec.Struct, frozen=True):
    """Names one installation's topics. ``prefix`` is put before each name; ``partitions``: how many
    each has, but for the registry, which has one."""

    prefix: str
    partitions: int

    @property
    def numbers(self) -> list[int]:
        return list(range(self.partitions))

    def partition_of(self, lock_id: int) -> int:
        return partition_of(lock_id, self.partitions)

    @property
    def lock_facts(self) -> str:
        return f"{self.prefix}lock-facts"

    @property
    def lock_events(self) -> str:
        return f"{self.prefix}lock-events"

    @property
    def parked_facts(self) -> str:
        return f"{self.prefix}lock-facts.parked"

    @property
    def registry(self) -> str:
        return f"{self.prefix}registry"

    def partner_events(self, partner_id: str) -> str:
        return f"{self.prefix}partner.{partner_id}.lock-events"

    def partner_of(self, topic: str) -> str | None:
        """Returns the partner whose events the topic holds, as they come; None if it holds none's,
        or a replay."""
        begin, end = f"{self.prefix}partner.", ".lock-events"
        if not (topic.startswith(begin) and topic.endswith(end)):
            return None
        return topic[len(begin) : -len(end)] or None

    def partner_replay(self, partner_id: str, number: int | str) -> str:
        return f"{self.partner_events(partner_id)}{REPLAY}{number}"

    def replay_of(self, topic: str) -> tuple[str, int] | None:
        """Returns the partner and the number of the replay that the topic holds; None if it holds
        none."""
        own, _, number = topic.rpartition(REPLAY)
        partner_id = self.partner_of(own)
        if partner_id is None or _NUMBER.match(number) is None:
            return None
        return partner_id, int(number)

    def group(self, name: str) -> str:
        """Returns the consumer group ``name`` (``projector``, ``fanout.<partnerId>``)."""
        return f"{self.prefix}{name}"

    @property
    def projector_group(self) -> str:
        return self.group("projector")

    def fanout_group(self, partner_id: str) -> str:
        return self.group(f"fanout.{partner_id}")

    def owner_of_group(self, group: str, partner_ids: Collection[str]) -> str | None:
        """Returns the partner whose own consumer group it is: its name is the partner's id, or
        begins with it and '.'. If two ids fit, the longer one's; None if it is nobody's, or ours.
        """
        if not group.startswith(self.prefix) or self._is_ours(group):
            return None
        name = group[len(self.prefix) :]
        while name not in partner_ids:
            name, dot, _ = name.rpartition(".")
            if not dot:
                return None
        return name

    def _is_ours(self, group: str) -> bool:
        return group == self.projector_group or group.startswith(self.fanout_group(""))

    def replay_group(self, partner_id: str, number: int) -> str:
        """Returns the group that serves a replay. '/' stands in no partner's id, so it is no other
        partner's."""
        return f"{self.fanout_group(partner_id)}/replay.{number}"


def collides(one: str, other: str) -> bool:
    """Returns whether Kafka refuses to have both topics: in names of metrics '.' and '_' are the
    same.

    Source: ``org.apache.kafka.common.internals.Topic.hasCollision``.
    """
    return one.replace(".", "_") == other.replace(".", "_")


def lock_key(lock_id: int) -> bytes:
    """Returns the record key of a lock: its id in ASCII decimal."""
    return b"%d" % lock_id


@lru_cache(maxsize=65536)
def partition_of(lock_id: int, partitions: int) -> int:
    """Returns the partition a lock lives in, as Kafka's own default partitioner does for its key.

    Source: ``org.apache.kafka.clients.producer.internals.BuiltInPartitioner``.
    """
    return (murmur2(lock_key(lock_id)) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Hashes with MurmurHash2, 32 bits, with Kafka's seed; unsigned.

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``.
    """
    multiplier = 0x5BD1E995
    mask = 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * multiplier) & mask
        k ^= k >> 24
        k = (k * multiplier) & mask
        h = ((h * multiplier) & mask) ^ k
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * multiplier) & mask
    h ^= h >> 13
    h = (h * multiplier) & mask
    return h ^ (h >> 15)
