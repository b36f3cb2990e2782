"""Reads a stretch of the log one record at a time, looking one ahead."""

from collections.abc import AsyncIterator

from eventlog.records import Record


class Cursor:
    def __init__(self, batches: AsyncIterator[list[Record]]) -> None:
        self._batches = batches
        self._records: list[Record] = []
        self._at = 0

    @property
    def at_hand(self) -> Record | None:
        """Returns the next record if it is here already."""
        return self._records[self._at] if self._at < len(self._records) else None

    async def peek(self) -> Record | None:
        """Returns the next record, or None at the end."""
        while self._at >= len(self._records):
            try:
                self._records, self._at = await anext(self._batches), 0
            except StopAsyncIteration:
                return None
        return self._records[self._at]

    def advance(self) -> None:
        """Moves past the record that ``peek`` has returned."""
        self._at += 1
