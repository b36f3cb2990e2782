"""A role works off a backlog: how fast, and what it costs. Asked by its own metrics."""

import time
from collections.abc import Callable

import msgspec

from bench.lockstream_roles import Replica, metric
from bench.processes import cpu_seconds, peak_mib

POLL_S = 0.2
STALL_S = 90.0


class WorkedOff(msgspec.Struct, frozen=True):
    """From the first answer of its page: starting the process is not counted, but taking its
    partitions is, and all that it does before it first has something done."""

    records: float
    seconds: float
    cpu_seconds: float
    peak_mib: float

    def numbers(self, unit: str) -> dict[str, float]:
        cpu = max(self.cpu_seconds, 0.01)
        return {
            f"{unit}_per_second": self.records / self.seconds,
            f"{unit}_per_cpu_second": self.records / cpu,
            f"cpu_seconds_per_1000_{unit}": cpu * 1000 / self.records,
            "peak_mib": self.peak_mib,
        }


def work_off(
    replica: Replica, stage: str, total: int, finished: Callable[[], bool] = lambda: True
) -> WorkedOff:
    """Waits until the role has read ``total`` records in this stage, and is ``finished``.

    Raises:
        TimeoutError: no progress for a minute and a half.
    """
    pids = [replica.process.pid]
    first: tuple[float, float] | None = None
    last_progress, before = time.monotonic(), 0.0
    while True:
        asked = time.perf_counter(), cpu_seconds(pids)
        answer = _done(replica, stage)
        if first is None and answer is not None:
            first = asked
        done = before if answer is None else answer
        if done >= total and finished():
            break
        if done > before:
            last_progress, before = time.monotonic(), done
        if time.monotonic() - last_progress > STALL_S:
            raise TimeoutError(f"{stage} made no progress after {done:,.0f} of {total:,} records")
        time.sleep(POLL_S)
    begun, cpu = first or asked
    took = time.perf_counter() - begun
    return WorkedOff(done, took, cpu_seconds(pids) - cpu, peak_mib(pids[0]))


def is_folded(projector: Replica) -> bool:
    """Whether the read model holds all that it has committed."""
    return metric(projector.page, "lockstream_unfolded_records") == 0


def _done(replica: Replica, stage: str) -> float | None:
    """None: it does not say: it has not begun to listen, or is too busy to."""
    try:
        return metric(replica.page, "lockstream_records_read_total", stage=stage)
    except OSError:
        return None
