"""``/metrics``: Prometheus' formats, one registry for each role, made in its composition root.

Each package names its own metrics: ``command_api/metrics.py``, ``eventlog/stage_metrics.py``,
``projector/metrics.py``. Labels are bounded: route templates, statuses, types, reasons, partitions
and registered partners; never a lock, a user, a path or a key. What is hot is observed once a
command or a transaction, not once a record. What is a state and not a count (lag, queues) is
looked at when somebody asks.
"""

import asyncio
from collections.abc import Callable

import msgspec
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from runtime.readiness import Readiness

SECONDS = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10,
)  # fmt: skip
"""Upper bounds of the buckets of all durations."""


class Exposition(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str


class RoleMetrics:
    """The registry of one role, with what every process has: its own use of the machine, and
    whether it is ready."""

    def __init__(self, readiness: Readiness) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "lockstream_ready", "1 if /readyz answers 200, else 0", registry=self.registry
        ).set_function(lambda: readiness.ready)

    async def exposition(self, accept: str) -> Exposition:
        """In the format that ``accept`` asks for; Prometheus' text format if in doubt."""
        encode, content_type = choose_encoder(accept)
        # It reads /proc, which blocks.
        return Exposition(await asyncio.to_thread(encode, self.registry), content_type)

    def show(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for its value by another thread: it may only look."""
        Gauge(name, meaning, registry=self.registry).set_function(value)
