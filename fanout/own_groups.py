"""Finds partners' own consumer groups: who is in them, and how far they have read."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from eventlog.clients.admin import Admin
from schemas.topics import LockTopics

AT_ONCE = 16
"""Groups that are asked for side by side."""
DESCRIBED_AT_ONCE = 100


class OwnGroup(msgspec.Struct, frozen=True):
    """Describes a consumer group of a partner. ``committed``: by partition of the partner's topic,
    the next offset that it will read; nothing where it has committed none."""

    name: str
    members: int
    committed: Mapping[int, int]


def by_owner(
    topics: LockTopics, groups: Iterable[str], partner_ids: Iterable[str]
) -> dict[str, list[str]]:
    """Returns which of the groups are whose, by name."""
    found: dict[str, list[str]] = {partner_id: [] for partner_id in partner_ids}
    for group in sorted(groups):
        owner = topics.owner_of_group(group, found.keys())
        if owner is not None:
            found[owner].append(group)
    return found


async def read_own_groups(
    admin: Admin, coordinators: Mapping[str, int], wanted: Mapping[str, Sequence[str]]
) -> dict[str, list[OwnGroup]]:
    """Returns how groups of partners stand, by the topic that they read. ``wanted``: their names,
    likewise.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: we may not see a group.
    """
    names = {group: coordinators[group] for groups in wanted.values() for group in groups}
    members = await _members(admin, names)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(topic: str, group: str) -> OwnGroup:
        async with at_once:
            committed = await admin.group_offsets(group, coordinators[group])
        own = {tp.partition: at for tp, (at, _) in committed.items() if tp.topic == topic}
        return OwnGroup(group, members.get(group, 0), own)

    asked = [ask(topic, group) for topic, groups in wanted.items() for group in groups]
    answers = iter(await asyncio.gather(*asked))
    return {topic: [next(answers) for _ in groups] for topic, groups in wanted.items()}


async def _members(admin: Admin, coordinators: Mapping[str, int]) -> dict[str, int]:
    """Counts the members of each group."""
    by_node: dict[int, list[str]] = {}
    for group, node in sorted(coordinators.items()):
        by_node.setdefault(node, []).append(group)
    counts: dict[str, int] = {}
    for node, groups in by_node.items():
        for first in range(0, len(groups), DESCRIBED_AT_ONCE):
            found = await admin.members_at(node, groups[first : first + DESCRIBED_AT_ONCE])
            counts |= {group: len(members) for group, members in found.items()}
    return counts
