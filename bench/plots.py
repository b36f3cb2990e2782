"""Draws the two pictures of ``docs/performance.md``."""

from collections.abc import Sequence
from pathlib import Path

from bench.charts import Line, Panel, chart
from bench.measurement import Measurement, select
from bench.names import CLOSED, GROWTHS, LOCKSTREAM, SYSTEMS, UNVERSIONED

LOAD, GROWTH = "throughput-and-latency.svg", "cost-against-growth.svg"
All = Sequence[Measurement]


def draw(measurements: All, folder: Path) -> list[Path]:
    """Returns the files written: none of a picture for which nothing was measured."""
    drawn = [(_load(measurements), folder / LOAD), (_growth(measurements), folder / GROWTH)]
    for panels, file in drawn:
        if panels:
            file.write_text(chart(panels))
    return [file for panels, file in drawn if panels]


def _load(measurements: All) -> list[Panel]:
    """Draws throughput and p99 of all systems, side by side, from one in flight to many."""
    systems = [name for name in SYSTEMS if select(measurements, CLOSED, server=name)]
    loads = {float(m.parameters["in_flight"]) for m in select(measurements, CLOSED)}
    if not systems:
        return []

    def panel(title: str, number: str) -> Panel:
        lines = [
            Line(
                "endpoint alone" if name == UNVERSIONED else name,
                sorted(
                    (float(m.parameters["in_flight"]), m.median(number))
                    for m in select(measurements, CLOSED, server=name)
                ),
                SYSTEMS.index(name),
                strong=name == LOCKSTREAM,
                dashed=name == UNVERSIONED,
            )
            for name in systems
        ]
        return Panel(title, "requests in flight", lines, sorted(loads))

    return [
        panel("answers per second: more is better", "per_second"),
        panel("p99 latency, ms: less is better", "p99_ms"),
    ]


def _growth(measurements: All) -> list[Panel]:
    """Draws the CPU of one command, as a ratio to the smallest step of each kind of growth."""
    lines = []
    for number, name in enumerate(GROWTHS):
        steps = select(measurements, name)
        if len(steps) < 2:
            continue
        first = steps[0].median("cpu_ms")
        label = name.removeprefix("growth: ").replace(" in the stream", "")
        points = [(float(m.parameters["size"]), m.median("cpu_ms") / first) for m in steps]
        lines.append(Line(label, points, 1 + number))
    if not lines:
        return []
    greatest = max(x for line in lines for x, _ in line.points)
    powers = [1.0]
    while powers[-1] < greatest:
        powers.append(powers[-1] * 10)
    title = "CPU of one command, beside the smallest step"
    return [Panel(title, "how many there are", lines, powers, from_zero=True)]
