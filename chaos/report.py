"""Makes the table: what was broken, how often, how fast it recovered, which promises were
broken."""

from collections.abc import Sequence

import msgspec

from chaos.history import Broken
from chaos.scene import Injection, Measured

ELSEWHERE = "(no fault under way)"


class Row(msgspec.Struct, frozen=True):
    """One kind of fault. Recoveries are the slowest, in seconds; ``bound_s``: theirs, beyond
    ``usual_s``: what the same took before the fault, at the slowest."""

    fault: str
    injected: int
    in_flight: float
    commands_s: float | None
    delivery_s: float | None
    bound_s: float | None
    usual_s: float | None
    violations: int


class Report(msgspec.Struct, frozen=True):
    seed: int
    minutes: float
    injected: int
    events: int
    operations: int
    rows: list[Row]
    broken: list[Broken]
    skipped: list[str]


def make_report(
    seed: int,
    minutes: float,
    injections: Sequence[Injection],
    broken: Sequence[Broken],
    counted: tuple[int, int],
) -> Report:
    """``broken``: what was found at the end; a fault's own is in its injection. ``counted``:
    events and operations."""
    done = [injection for injection in injections if not injection.skipped]
    blamed = _blame(done, broken)
    rows = [
        _row(name, [i for i in done if i.fault == name], blamed.get(name, 0))
        for name in sorted({i.fault for i in done})
    ]
    if ELSEWHERE in blamed:
        rows.append(Row(ELSEWHERE, 0, 0.0, None, None, None, None, blamed[ELSEWHERE]))
    return Report(
        seed=seed,
        minutes=minutes,
        injected=len(done),
        events=counted[0],
        operations=counted[1],
        rows=rows,
        broken=[*broken, *(b for i in done for b in i.broken)],
        skipped=sorted({f"{i.fault}: {i.skipped}" for i in injections if i.skipped}),
    )


def _blame(injections: Sequence[Injection], broken: Sequence[Broken]) -> dict[str, int]:
    """Counts what was found at the end for the faults under way when the command began."""
    blamed: dict[str, int] = {}
    for found in broken:
        guilty = {
            i.fault
            for i in injections
            if found.at is not None and i.started_at <= found.at <= i.ended
        }
        for name in guilty or {ELSEWHERE}:
            blamed[name] = blamed.get(name, 0) + 1
    return blamed


def _row(name: str, injections: Sequence[Injection], blamed: int) -> Row:
    measured = [m for injection in injections for m in injection.measured]
    return Row(
        fault=name,
        injected=len(injections),
        in_flight=sum(i.in_flight for i in injections) / len(injections),
        commands_s=_slowest([m.recovery.commands_s for m in measured]),
        delivery_s=_slowest([m.recovery.delivery_s for m in measured]),
        bound_s=_bound(measured),
        usual_s=_slowest([m.usual.commands_s for m in measured]),
        violations=blamed + sum(len(i.broken) for i in injections),
    )


def _slowest(times: Sequence[float | None]) -> float | None:
    known = [took for took in times if took is not None]
    return max(known) if known else None


def _bound(measured: Sequence[Measured]) -> float | None:
    return max((m.bound_s for m in measured), default=None)


def as_markdown(report: Report) -> str:
    head = (
        f"Seed {report.seed}, {report.minutes:g} minutes: {report.injected} faults of "
        f"{len([r for r in report.rows if r.injected])} kinds, {report.operations:,} commands, "
        f"{report.events:,} events, {len(report.broken)} violations.\n\n"
        "| fault | injected | commands in flight | commands answered again after, s "
        "| delivered again after, s | bound, s | with nothing broken, s | violations |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    rows = "".join(
        f"| {r.fault} | {r.injected} | {r.in_flight:.0f} | {_seconds(r.commands_s)} "
        f"| {_seconds(r.delivery_s)} | {_seconds(r.bound_s)} | {_seconds(r.usual_s)} "
        f"| {r.violations} |\n"
        for r in report.rows
    )
    skipped = "".join(f"\nNot injected: {line}." for line in report.skipped)
    broken = "".join(f"\n- {b.promise}: {b.detail}" for b in report.broken[:50])
    return head + rows + skipped + broken + "\n"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
