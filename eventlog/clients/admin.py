"""Asks about topics and consumer groups, and changes them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest

from eventlog import aiokafka_internals as internals
from eventlog.aiokafka_internals import GroupMember
from eventlog.clients.client import REQUEST_TIMEOUT_S, Client
from eventlog.group_requests import DescribeGroups, DescribeNewGroups
from eventlog.kafka_errors import (
    KafkaError,
    error_of,
    errors,
    kafka_errors,
    ours,
)
from eventlog.kafka_requests import AlterTopicSetting
from eventlog.records import TopicPartition
from runtime.waiting import within
from schemas.topic_configs import Topic

T = TypeVar("T")
COORDINATOR_PAUSE_S = 0.1
_DEAD = "Dead"
"""What a broker says of a group that is not there, or that has another protocol."""
_SHARE = "share"
NO_COORDINATOR_YET = (
    errors.GroupCoordinatorNotAvailableError,
    errors.GroupLoadInProgressError,
    errors.NotCoordinatorForGroupError,
)


class TopicState(msgspec.Struct, frozen=True):
    """Describes a topic as one broker knows it. ``in_sync``: every replica is. ``error``: why the
    broker does not know it; then there are no partitions."""

    name: str
    partitions: int
    led: bool
    in_sync: bool
    error: KafkaError | None


class Admin(Client):
    """Asks and changes, with a deadline on each request. Every method raises ``KafkaUnavailable``
    if the broker can't be reached in time, and ``KafkaRefused`` if we may not."""

    def _end(self) -> Awaitable[None]:
        end: Awaitable[None] = self._client.close()
        return end

    # -- topics ------------------------------------------------------------------------------------

    async def topics(self) -> set[str]:
        with kafka_errors("listing the topics"):
            return set(await within(self._client.list_topics(), REQUEST_TIMEOUT_S))

    async def describe_topics(self, topics: Sequence[str] | None = None) -> list[TopicState]:
        """Returns how these topics stand; None: all that there are."""
        with kafka_errors("describing the topics"):
            question = self._client.describe_topics(None if topics is None else list(topics))
            return [_topic_state(found) for found in await within(question, REQUEST_TIMEOUT_S)]

    async def create_topics(self, topics: Iterable[Topic], replication_factor: int) -> None:
        """Creates topics; one that somebody else has made meanwhile is no error."""
        wanted = [
            NewTopic(t.name, t.partitions, replication_factor, topic_configs=t.config)
            for t in topics
        ]
        with kafka_errors("creating the topics"):
            answer = await within(self._client.create_topics(wanted), REQUEST_TIMEOUT_S)
        for name, code, *text in answer.topic_errors:
            error = error_of(code, text[0] if text else None)
            if code and not isinstance(error, errors.TopicAlreadyExistsError):
                raise ours(error, f"creating {name}")

    async def delete_topic(self, topic: str) -> None:
        """Deletes a topic; one that is gone already is no error."""
        with kafka_errors(f"deleting {topic}"):
            answer = await within(self._client.delete_topics([topic]), REQUEST_TIMEOUT_S)
            for _, code in answer.topic_error_codes:
                if code and not isinstance(
                    error := error_of(code), errors.UnknownTopicOrPartitionError
                ):
                    raise error

    async def topic_setting(self, topics: Iterable[str], setting: str) -> dict[str, str]:
        """Returns the value of one setting, by topic."""
        kind = ConfigResourceType.TOPIC
        resources = [ConfigResource(kind, topic, {setting: ""}) for topic in topics]
        with kafka_errors("asking for the topics' settings"):
            answers = await within(self._client.describe_configs(resources), REQUEST_TIMEOUT_S)
        return {
            topic: value
            for answer in answers
            for topic, _, value in internals.described_settings(answer)
        }

    async def alter_topic_setting(
        self, setting: str, values: Mapping[str, str]
    ) -> dict[str, KafkaError | None]:
        """Sets one setting by topic, and touches no other; returns the error, by topic."""
        with kafka_errors("changing the topics' settings"):
            question = self.connections.ask_any(AlterTopicSetting(setting, values))
            answer = await within(question, REQUEST_TIMEOUT_S)
        return {
            name: error_of(code, text) if code else None for code, text, _, name in answer.resources
        }

    # -- groups ------------------------------------------------------------------------------------

    async def coordinators(self) -> dict[str, int]:
        """Returns the broker that coordinates each consumer group, of all that we may see. Share
        groups are none: they have no offsets of this kind."""
        found: dict[str, int] = {}
        with kafka_errors("listing the consumer groups"):
            for node in self.connections.brokers():
                listed = await _once_coordinated(partial(self._client.list_consumer_groups, [node]))
                found |= {group: node for group, kind in listed if kind != _SHARE}
        return found

    async def check_groups_seen(self, groups: Sequence[str]) -> None:
        """Returns if we may see these groups, or would if there were any. Whoever lists groups is
        not told of those that it may not see.

        Raises:
            KafkaRefused: we may not see one of them.
        """
        with kafka_errors("looking for consumer groups"):
            # Asked of any broker: what we may do is looked at first.
            answer = await within(
                self.connections.ask_any(DescribeGroups(groups)), REQUEST_TIMEOUT_S
            )
            for code, _, _ in internals.described_groups(answer).values():
                if isinstance(error := error_of(code), errors.GroupAuthorizationFailedError):
                    raise error

    async def group_members(self, group: str) -> list[GroupMember]:
        async def ask() -> list[GroupMember]:
            node = await self._client.find_coordinator(group)
            return (await self._members_at(node, [group]))[group]

        with kafka_errors(f"describing group {group}"):
            return await _once_coordinated(ask)

    async def members_at(self, node: int, groups: Sequence[str]) -> dict[str, list[GroupMember]]:
        """Returns the members of groups that one broker coordinates; of those that are gone,
        none."""
        with kafka_errors("describing consumer groups"):
            return await within(self._members_at(node, groups), REQUEST_TIMEOUT_S)

    async def _members_at(self, node: int, groups: Sequence[str]) -> dict[str, list[GroupMember]]:
        answer = await self.connections.ask(node, DescribeGroups(groups))
        states = internals.described_groups(answer)
        found = {group: (code, members) for group, (code, _, members) in states.items()}
        dead = [group for group, (_, state, _) in states.items() if state == _DEAD]
        if dead:
            found |= await self._new_groups_at(node, dead)
        for code, _ in found.values():
            if code and not isinstance(error := error_of(code), errors.GroupIdNotFound):
                raise error
        return {group: members for group, (_, members) in found.items()}

    async def _new_groups_at(
        self, node: int, groups: Sequence[str]
    ) -> dict[str, tuple[int, list[GroupMember]]]:
        """Asks for groups that may be of the new protocol; an older broker has none."""
        try:
            return (await self.connections.ask(node, DescribeNewGroups(groups))).groups
        except errors.IncompatibleBrokerVersion:
            return {}

    async def group_offsets(
        self, group: str, node: int | None = None
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Returns what the group has committed: the next offset, and its note. ``node``: the
        broker that coordinates it, if that is known."""

        async def ask() -> dict[TopicPartition, tuple[int, str]]:
            at = node if node is not None else await self._client.find_coordinator(group)
            # aiokafka's own method takes a refusal for a group that has committed nothing.
            answer: Any = await self.connections.ask(at, OffsetFetchRequest(group, None))
            found = {
                TopicPartition(topic, partition): (offset, note, code)
                for topic, partitions in answer.topics
                for partition, offset, note, code in partitions
            }
            for code in (answer.error_code, *(code for _, _, code in found.values())):
                if code:
                    raise error_of(code)
            return {tp: (offset, note) for tp, (offset, note, _) in found.items() if offset >= 0}

        with kafka_errors(f"reading the offsets of {group}"):
            return await _once_coordinated(ask)

    async def delete_group(self, group: str) -> None:
        """Deletes an empty group with its offsets; one that does not exist is no error."""

        async def ask() -> None:
            coordinator = await self._client.find_coordinator(group)
            # aiokafka's admin has the request, and no method for it.
            answer = await self.connections.ask(coordinator, DeleteGroupsRequest([group]))
            for _, code in answer.results:
                if code and not isinstance(error := error_of(code), errors.GroupIdNotFound):
                    raise error

        with kafka_errors(f"deleting group {group}"):
            await _once_coordinated(ask)


async def _once_coordinated(question: Callable[[], Awaitable[T]]) -> T:
    """Asks about a group until its coordinator is ready: a new cluster makes the first one when
    somebody asks.

    Raises:
        KafkaError: none is ready in time.
        TimeoutError: there is no answer in time.
    """
    deadline = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
    async with asyncio.timeout_at(deadline):
        while True:
            try:
                return await question()
            except NO_COORDINATOR_YET:
                if asyncio.get_running_loop().time() + COORDINATOR_PAUSE_S > deadline:
                    raise
            await asyncio.sleep(COORDINATOR_PAUSE_S)


def _topic_state(found: Mapping[str, Any]) -> TopicState:
    code, partitions = found["error_code"], found["partitions"]
    return TopicState(
        found["topic"],
        len(partitions),
        all(partition["leader"] >= 0 for partition in partitions),
        all(len(partition["isr"]) == len(partition["replicas"]) for partition in partitions),
        error_of(code) if code else None,
    )
