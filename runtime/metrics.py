"""Makes ``/metrics`` in Prometheus' formats, one registry for each role.

Each package names its own metrics: ``command_api/metrics.py``, ``eventlog/stage/metrics.py``,
``projector/metrics.py``. Labels are bounded: route templates, statuses, types, reasons, partitions
and registered partners; never a lock, a user, a path or a key. Frequent events are observed once a
command or a transaction, not once a record. States (lag, queues) are read when somebody asks."""

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
    """Holds a role's registry, with the process's own use of the machine and whether it is
    ready."""

    def __init__(self, readiness: Readiness) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "lockstream_ready", "1 if /readyz answers 200, else 0", registry=self.registry
        ).set_function(lambda: readiness.ready)

    async def exposition(self, accept: str) -> Exposition:
        """Returns the format that ``accept`` asks for; if in doubt the text format."""
        encode, content_type = choose_encoder(accept)
        # It reads /proc, which blocks.
        return Exposition(await asyncio.to_thread(encode, self.registry), content_type)

    def show(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Adds a gauge whose value another thread asks for: ``value`` may only read."""
        Gauge(name, meaning, registry=self.registry).set_function(value)
