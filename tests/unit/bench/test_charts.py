"""The pictures say what was measured, and their labels do not lie on each other."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.charts import Line, Panel, chart, spread, ticks
from bench.measurement import Measurement
from bench.names import CLOSED, SYSTEMS
from bench.plots import LOAD, draw

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("least", "greatest", "marks"),
    [
        (88, 2951, [50, 100, 200, 500, 1000, 2000, 5000]),
        (100, 1000, [100, 200, 500, 1000]),
        (0.3, 20_000, [0.1, 1, 10, 100, 1000, 10_000, 100_000]),
    ],
)
def test_marks_cover_the_range(least: float, greatest: float, marks: list[float]) -> None:
    assert ticks(least, greatest) == pytest.approx(marks)


def test_labels_stay_apart_and_in_their_order() -> None:
    assert spread([10.0, 50.0], 16, 300) == [10.0, 50.0]
    assert spread([50.0, 52.0, 51.0], 16, 300) == [50.0, 82.0, 66.0]
    assert spread([298.0, 299.0, 300.0], 16, 300) == [268.0, 284.0, 300.0]


def test_a_chart_is_svg_with_a_label_for_each_line() -> None:
    lines = [Line("a < b", [(1, 10.0), (256, 20.0)], 0), Line("c", [(1, 1.0), (256, 2.0)], 2)]
    drawn = ElementTree.fromstring(chart([Panel("p", "x", lines, (1, 256))]))
    said = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"a < b", "c", "p", "x"} <= set(said)
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 2


def test_all_systems_are_drawn_with_throughput_and_p99_side_by_side(tmp_path: Path) -> None:
    measured = [
        Measurement(
            CLOSED,
            {"server": system, "in_flight": in_flight},
            [{"per_second": 100.0 + in_flight, "p99_ms": 1.0 + in_flight}],
        )
        for in_flight in (1, 4, 16, 64, 256)
        for system in SYSTEMS
    ]
    assert draw(measured, tmp_path) == [tmp_path / LOAD]
    drawn = ElementTree.fromstring((tmp_path / LOAD).read_text())
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 2 * len(SYSTEMS)
    assert draw([], tmp_path) == []
