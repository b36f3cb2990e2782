"""Draws the two pictures of ``docs/performance.md``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measurement import Measurement, select
from bench.names import CLOSED, GROWTHS

LATENCY, GROWTH = "latency-against-load.svg", "cost-against-growth.svg"


def draw(measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    """Returns the files written: none of a picture for which nothing was measured."""
    # It takes a second and a font cache: only whoever draws waits for it.
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lockstream"
    mpl.rcParams["svg.fonttype"] = "none"
    drawn = [
        (_latency(measurements), folder / LATENCY),
        (_growth(measurements), folder / GROWTH),
    ]
    for picture, file in drawn:
        if picture is not None:
            picture.savefig(file, metadata={"Date": None}, bbox_inches="tight")
    return [file for picture, file in drawn if picture is not None]


def _latency(measurements: Sequence[Measurement]) -> Any:
    """Draws for each server a line from few in flight to many: p50 solid, p99 dashed."""
    servers = list(dict.fromkeys(m.parameters["server"] for m in select(measurements, CLOSED)))
    if not servers:
        return None
    picture, axes = _axes()
    for number, server in enumerate(servers):
        steps = select(measurements, CLOSED, server=server)
        load = [m.median("per_second") for m in steps]
        colour = f"C{number}"
        p50, p99 = ([m.median(q) for m in steps] for q in ("p50_ms", "p99_ms"))
        axes.plot(load, p50, "o-", color=colour, label=str(server))
        axes.plot(load, p99, "o--", color=colour, alpha=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("answers/s, with more and more in flight")
    axes.set_ylabel("latency, ms: p50 solid, p99 dashed")
    _explain(axes)
    return picture


def _growth(measurements: Sequence[Measurement]) -> Any:
    """Draws the CPU of one command, as a ratio to the smallest step of each kind of growth."""
    grown = [name for name in GROWTHS if len(select(measurements, name)) > 1]
    if not grown:
        return None
    picture, axes = _axes()
    for name in grown:
        steps = select(measurements, name)
        sizes = [float(m.parameters["size"]) for m in steps]
        first = steps[0].median("cpu_ms")
        costs = [m.median("cpu_ms") / first for m in steps]
        axes.plot(sizes, costs, "o-", label=name.removeprefix("growth: "))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.05)
    axes.set_xlabel("how many there are")
    axes.set_ylabel("CPU of one command, beside the first step")
    _explain(axes)
    return picture


def _axes() -> Any:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8, 4.5))
    axes = picture.subplots()
    axes.grid(alpha=0.3)
    return picture, axes


def _explain(axes: Any) -> None:
    """Puts the legend beside the picture, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
