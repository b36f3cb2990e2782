"""Holds up the way from the registry to a fan-out, which then knows only what it knew."""

import asyncio
from typing import Any

import pytest

from eventlog.tail import Tail


class HeldLink:
    """``asked``: somebody waits for the registry to be read to its end; ``answered``: it was."""

    def __init__(self) -> None:
        self.open, self.asked, self.answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closed = asyncio.Event()
        self.open.set()

    async def close(self) -> None:
        """Returns when nothing comes through any more."""
        self._closed.clear()
        self.open.clear()
        async with asyncio.timeout(10):
            await self._closed.wait()

    async def gate(self) -> None:
        if not self.open.is_set():
            self._closed.set()
        await self.open.wait()


def held_link(monkeypatch: pytest.MonkeyPatch) -> HeldLink:
    held = HeldLink()
    poll, until = Tail._poll, Tail.until

    async def slow_poll(tail: Tail, consumer: Any) -> None:
        await held.gate()
        await poll(tail, consumer)
        await held.gate()

    async def told(tail: Tail, topic: str, partition: int, end: int, timeout_s: float) -> None:
        held.asked.set()
        await until(tail, topic, partition, end, timeout_s)
        held.answered.set()

    monkeypatch.setattr(Tail, "_poll", slow_poll)
    monkeypatch.setattr(Tail, "until", told)
    return held
