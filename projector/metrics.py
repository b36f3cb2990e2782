"""Counts and times what the projector does, beyond what every stage does."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Histogram

from eventlog.stage.metrics import StageMetrics, StageSnapshot
from runtime.metrics import SECONDS
from runtime.readiness import Readiness
from schemas.parked_facts import Reason

UNREAD = "undecodable"
"""Stands for the type of a fact that can't be read."""


class DecisionCounts:
    """Counts how many facts of each type in one batch had which fate."""

    def __init__(self) -> None:
        self._counts: Tally[tuple[str, str, str]] = Tally()

    def recorded(self, fact_type: str) -> None:
        self._counts[fact_type, "recorded", ""] += 1

    def duplicate(self, fact_type: str) -> None:
        self._counts[fact_type, "duplicate", ""] += 1

    def parked(self, fact_type: str, reason: Reason) -> None:
        self._counts[fact_type, "parked", reason] += 1

    def items(self) -> Iterable[tuple[tuple[str, str, str], int]]:
        return self._counts.items()


class ProjectorMetrics(StageMetrics):
    def __init__(
        self, readiness: Readiness, snapshot: Callable[[], Iterable[StageSnapshot]]
    ) -> None:
        super().__init__(readiness, snapshot)
        self._facts = Counter(
            "lockstream_facts", "Facts decided, by type", ["type"], registry=self.registry
        )
        self._events = Counter(
            "lockstream_events",
            "Events written to the lock event stream, by type",
            ["type"],
            registry=self.registry,
        )
        self._decisions = Counter(
            "lockstream_decisions",
            "What became of the facts: recorded, duplicate, or parked for a reason",
            ["decision", "reason"],
            registry=self.registry,
        )
        self.fold = Histogram(
            "lockstream_fold_duration_seconds",
            "One transaction of the read model",
            buckets=SECONDS,
            registry=self.registry,
        )

    def committed(self, counts: DecisionCounts) -> None:
        """Counts a batch that stands in the log."""
        for (fact_type, decision, reason), count in counts.items():
            self._facts.labels(fact_type).inc(count)
            self._decisions.labels(decision, reason).inc(count)
            if decision == "recorded":
                self._events.labels(fact_type).inc(count)
