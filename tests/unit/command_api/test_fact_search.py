"""A search for a fact has a deadline, and the wait for its turn counts."""

import asyncio
from uuid import uuid4

import pytest

from command_api.fact_search import FactSearch
from eventlog.kafka import Kafka
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from schemas.topics import LockTopics


async def test_whoever_waits_too_long_for_a_turn_is_told_that_it_is_not_known() -> None:
    facts = FactSearch(Kafka(Settings(), "test"), LockTopics("", 3), 0.05)
    async with facts._one_at_a_time, asyncio.timeout(10):
        with pytest.raises(KafkaUnavailable, match="could not be searched in time"):
            await facts.find(uuid4(), {0: 0, 1: 0, 2: 0})
