"""Runs the fold's transactions, over an open connection: holds and checks, and then writes."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from read_model.changes import Changes
from read_model.fold import Row, Stretch, fold
from read_model.queries import Queries
from read_model.rows import Position, StoredParked
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from runtime.errors import ReadModelUnavailable
from schemas.primitives import id_time_ms


class ReadModelMoved(ReadModelUnavailable):
    """The model's position is not where the writer left it: the model was rebuilt or replaced."""


class Folding:
    """Folds stretches in. Rows and positions are written together, in the caller's transaction."""

    def __init__(self, queries: Queries, changes: Changes) -> None:
        self._queries = queries
        self._changes = changes

    def fold_in(self, connection: Connection, stretches: Sequence[Stretch]) -> None:
        current = self._hold_positions(connection, LOCK_EVENTS, stretches)
        fresh = []
        for stretch in stretches:
            at = current[stretch.partition]
            left = [e for e in stretch.events if e.offset >= at.next_offset]
            fresh.extend(left)
            current[stretch.partition] = Position(
                next_offset=max(at.next_offset, stretch.end),
                source_offset=left[-1].source_offset if left else at.source_offset,
                newest_id_ms=max(
                    at.newest_id_ms, *(id_time_ms(e.event.event_id) for e in left), -1
                ),
            )
        lock_ids = sorted({e.event.lock_id for e in fresh})
        versions = self._queries.versions(connection, lock_ids)
        self._changes.write_rows(connection, fold(fresh, versions))
        self._changes.write_positions(connection, LOCK_EVENTS, current)

    def fold_parked_in(self, connection: Connection, stretches: Sequence[Stretch]) -> None:
        current = self._hold_positions(connection, PARKED_FACTS, stretches, gaps=True)
        rows: list[Row] = []
        for stretch in stretches:
            at = current[stretch.partition]
            left = [f for f in stretch.parked if f.offset >= at.next_offset]
            rows += [
                {
                    "partition": stretch.partition,
                    "offset": fact.offset,
                    **msgspec.structs.asdict(StoredParked.of(fact.headers)),
                }
                for fact in left
            ]
            current[stretch.partition] = Position(
                next_offset=max(at.next_offset, stretch.end),
                source_offset=left[-1].headers.source_offset if left else at.source_offset,
            )
        self._changes.add_parked(connection, rows)
        self._changes.write_positions(connection, PARKED_FACTS, current)

    def _hold_positions(
        self,
        connection: Connection,
        stream: str,
        stretches: Sequence[Stretch],
        *,
        gaps: bool = False,
    ) -> dict[int, Position]:
        wanted = sorted({stretch.partition for stretch in stretches})
        current = self._changes.hold_positions(connection, stream, wanted)
        # Only now: whoever empties the model has all positions first.
        generation = self._queries.generation(connection)
        reached = {p: at.next_offset for p, at in current.items()}
        for stretch in stretches:
            if stretch.partition not in current:
                raise ReadModelMoved(f"the read model has no partition {stretch.partition}")
            if stretch.generation not in (None, generation):
                raise ReadModelMoved("the read model was emptied or replaced meanwhile")
            if stretch.begin > reached[stretch.partition] and not gaps:
                raise ReadModelMoved(
                    f"the read model is at {reached[stretch.partition]} of partition "
                    f"{stretch.partition}, and was to go on at {stretch.begin}"
                )
            reached[stretch.partition] = max(reached[stretch.partition], stretch.end)
        return current
