"""Measures how fast a role works off a backlog, and what that costs, by its own metrics."""

import time
from collections.abc import Callable, Sequence

import msgspec

from bench.lockstream_roles import Replica, Roles, metric
from bench.processes import cpu_seconds, peak_mib

POLL_S = 0.2
STALL_S = 90.0


class StallWatch:
    """Lets a wait go on for as long as records are being done."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._most: float | None = None
        self._since = time.monotonic()

    def see(self, done: float | None) -> None:
        """Notes progress. ``done``: more is better; None: the role did not say.

        Raises:
            TimeoutError: it has not become more for a minute and a half.
        """
        if done is not None and (self._most is None or done > self._most):
            self._most, self._since = done, time.monotonic()
        if time.monotonic() - self._since > STALL_S:
            raise TimeoutError(f"{self._who} made no progress in {STALL_S:.0f} s, at {self._most}")


class WorkedOff(msgspec.Struct, frozen=True):
    """What it took, from the first answer of the role's page. Starting the process is not counted;
    taking its partitions is, and all that it does before its first record is done."""

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
    watch = StallWatch(stage)
    while True:
        asked = time.perf_counter(), cpu_seconds(pids)
        done = _done(replica, stage)
        if done is not None:
            if first is None:
                first = asked
            if done >= total and finished():
                break
        watch.see(done)
        time.sleep(POLL_S)
    started_at, cpu = first
    took = time.perf_counter() - started_at
    return WorkedOff(done, took, cpu_seconds(pids) - cpu, peak_mib(pids[0]))


def project(roles: Roles, facts: int, cpus: Sequence[int] = ()) -> WorkedOff:
    """Starts a projector, and waits until all facts are in the read model. It goes on running.

    Raises:
        TimeoutError: no progress for a minute and a half.
    """
    projector = roles.start("projector", cpus)

    def is_folded() -> bool:
        return metric(projector.page, "lockstream_unfolded_records") == 0

    return work_off(projector, "projector", facts, is_folded)


def _done(replica: Replica, stage: str) -> float | None:
    """Returns how many records the role has done; None if it does not listen yet, or is too
    busy."""
    try:
        return metric(replica.page, "lockstream_records_read_total", stage=stage)
    except OSError:
        return None
