"""Counts and times the exactly-once stages, the projector's and every partner's."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.metrics import SECONDS, Exposition, RoleMetrics
from runtime.readiness import Readiness

RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)


class PartitionLag(msgspec.Struct, frozen=True):
    """Says how far one partition of a stage is behind. None: not known (yet)."""

    partition: int
    records: int | None
    seconds: float | None
    stopped: bool


class StageSnapshot(msgspec.Struct, frozen=True):
    """Says how far one stage is behind. ``partner``: empty for the projector."""

    stage: str
    partner: str
    partitions: Sequence[PartitionLag]


class StageMetrics(RoleMetrics):
    """Holds the metrics of a role that runs stages. ``snapshot`` is called in the event loop."""

    def __init__(
        self, readiness: Readiness, snapshot: Callable[[], Iterable[StageSnapshot]]
    ) -> None:
        super().__init__(readiness)
        self._snapshot = snapshot
        self._lag = _LagCollector()
        self.registry.register(self._lag)
        of_stage = ["stage", "partner"]
        self.fences = Counter(
            "lockstream_fences",
            "Partitions taken: their predecessor fenced, their state restored",
            of_stage,
            registry=self.registry,
        )
        self.restarts = Counter(
            "lockstream_stage_restarts",
            "Times that a partition's work, or a whole stage, was given up and begun anew",
            of_stage,
            registry=self.registry,
        )
        self.read = Counter(
            "lockstream_records_read",
            "Records of the input that are done with, for good",
            of_stage,
            registry=self.registry,
        )
        self.written = Counter(
            "lockstream_records_written",
            "Records committed to the output; in the fan-out: delivered",
            of_stage,
            registry=self.registry,
        )
        self.restore = Histogram(
            "lockstream_restore_duration_seconds",
            "To fence a partition's predecessor and restore its state",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.transaction = Histogram(
            "lockstream_transaction_duration_seconds",
            "From the first send of a transaction to its commit",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.transaction_records = Histogram(
            "lockstream_transaction_records",
            "Records written in one transaction",
            ["stage"],
            buckets=RECORDS,
            registry=self.registry,
        )

    async def exposition(self, accept: str) -> Exposition:
        self._lag.snapshot = tuple(self._snapshot())
        return await super().exposition(accept)

    def of(self, stage: str, partner: str = "") -> "StageCounts":
        return StageCounts(self, stage, partner)


class StageCounts:
    """Counts for one stage."""

    def __init__(self, metrics: StageMetrics, stage: str, partner: str) -> None:
        self._fences = metrics.fences.labels(stage, partner)
        self._restarts = metrics.restarts.labels(stage, partner)
        self._read = metrics.read.labels(stage, partner)
        self._written = metrics.written.labels(stage, partner)
        self._restore = metrics.restore.labels(stage)
        self._transaction = metrics.transaction.labels(stage)
        self._transaction_records = metrics.transaction_records.labels(stage)

    def taken(self, seconds: float) -> None:
        self._fences.inc()
        self._restore.observe(seconds)

    def restarted(self) -> None:
        self._restarts.inc()

    def done(self, read: int) -> None:
        self._read.inc(read)

    def committed(self, written: int, seconds: float) -> None:
        self._written.inc(written)
        self._transaction.observe(seconds)
        self._transaction_records.observe(written)


class _LagCollector(Collector):
    """Shows the last snapshot: partitions and partners that are gone leave nothing behind."""

    def __init__(self) -> None:
        self.snapshot: tuple[StageSnapshot, ...] = ()

    def collect(self) -> Iterator[Metric]:
        labels = ["stage", "partner", "partition"]
        records = GaugeMetricFamily(
            "lockstream_lag_records", "Records of the input still to be processed", labels=labels
        )
        seconds = GaugeMetricFamily(
            "lockstream_lag_seconds", "Age of the oldest record not yet processed", labels=labels
        )
        stopped = GaugeMetricFamily(
            "lockstream_partition_stopped", "1 if the partition has stopped for good", labels=labels
        )
        for stage in self.snapshot:
            for lag in stage.partitions:
                of_partition = (stage.stage, stage.partner, str(lag.partition))
                stopped.add_metric(of_partition, lag.stopped)
                if lag.records is not None:
                    records.add_metric(of_partition, lag.records)
                if lag.seconds is not None:
                    seconds.add_metric(of_partition, lag.seconds)
        yield from (records, seconds, stopped)
