"""A group consumer is a member of a consumer group."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka.structs import OffsetAndMetadata

from eventlog import aiokafka_internals as internals
from eventlog.clients.client import Client
from eventlog.records import TopicPartition

OnPartitions = Callable[[Collection[TopicPartition]], Awaitable[None]]


class GroupConsumer(Client):
    """Learns which partitions its group gives it, and keeps the group's offsets. It reads none. A
    call about another partition raises ``KafkaError``."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._listener: _Listener | None = None

    def subscribe(self, topic: str, assigned: OnPartitions, revoked: OnPartitions) -> None:
        """Joins the group when it starts. ``check`` raises what a call-back has raised."""
        self._listener = _Listener(assigned, revoked)
        self._client.subscribe([topic], listener=self._listener)

    def check(self) -> None:
        """Raises the last error of a call-back, if there was one."""
        if self._listener is not None and self._listener.failure is not None:
            raise self._listener.failure

    def leave_when_stopped(self) -> None:
        """Makes a static member leave its group when it stops, and not when its session ends."""
        internals.forget_instance_id(self._client)

    async def poll(self) -> None:
        """Shows that it lives. Waits during a rebalance, for as long as that takes."""
        await self._client.getmany(timeout_ms=0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._client.seek(tp, offset)

    def pause(self, *tps: TopicPartition) -> None:
        self._client.pause(*tps)

    async def committed(self, tp: TopicPartition) -> tuple[int, str] | None:
        """Returns the group's offset and its note; None if there is none."""
        return await internals.committed_with_note(self._client, tp)

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Sets the group's offsets, each with its note."""
        await self._client.commit({tp: OffsetAndMetadata(*at) for tp, at in offsets.items()})


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps what a call-back raises, which aiokafka only logs."""

    def __init__(self, assigned: OnPartitions, revoked: OnPartitions) -> None:
        self._on_assigned = assigned
        self._on_revoked = revoked
        self.failure: Exception | None = None

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._keep_failure(self._on_revoked(revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._keep_failure(self._on_assigned(assigned))

    async def _keep_failure(self, call: Awaitable[None]) -> None:
        try:
            await call
        except Exception as error:
            self.failure = error
            raise
