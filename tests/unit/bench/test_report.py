from pathlib import Path

import msgspec
import pytest

from bench.machine import Machine
from bench.measurement import Case, Measurement, interleave, select
from bench.names import (
    AFTER,
    BACKLOG,
    BACKLOG_TURNS,
    BEFORE,
    CLOSED,
    COMMAND_TURNS,
    EVENTS_GROWTH,
    LOCKSTREAM,
    POSTGRES,
    PUBLISH_ONLY,
    READERS,
    UNVERSIONED,
)
from bench.report import figure, put_between_markers, report, table, title
from bench.results import Part, Results, keep_part, newest_parts, read_results, results_file
from bench.targets import judge, ratios

MACHINE = Machine("CPU", 2, 4.0, "Linux", "3.11", {"uvloop": "1"}, (0.1, 0.2), "abc")


def commands(server: str, in_flight: int, *per_second: float) -> Measurement:
    numbers = {"p50_ms": 1.0, "p99_ms": 2.0, "p99.9_ms": 3.0, "cpu_ms": 0.1}
    rounds = [{"per_second": rate, **numbers} for rate in per_second]
    return Measurement(CLOSED, {"server": server, "in_flight": in_flight}, rounds)


def part(*measurements: Measurement) -> Part:
    return Part("2026-11-23T10:00:00+00:00", 1.0, MACHINE, "free", list(measurements))


def met(measurements: list[Measurement]) -> dict[str, bool | None]:
    return {judged.target.what: judged.met for judged in judge(measurements)}


def test_alternatives_take_their_turns() -> None:
    order: list[str] = []

    def case(name: str) -> Case:
        def run() -> dict[str, float]:
            order.append(name)
            return {"n": float(len(order))}

        return Case(name, {}, run, setup=lambda: order.append(f"before {name}"))

    found = interleave([case("a"), case("b")], 2, lambda case, numbers: None)
    assert order == ["before a", "a", "before b", "b"] * 2
    assert [m.rounds for m in found] == [[{"n": 2.0}, {"n": 6.0}], [{"n": 4.0}, {"n": 8.0}]]
    assert found[0].median("n") == 4.0
    assert found[0].spread("n") == (2.0, 6.0)


def test_measurements_are_found_by_name_and_parameters() -> None:
    one, other = commands(LOCKSTREAM, 1, 1.0), commands(LOCKSTREAM, 16, 1.0)
    assert select([one, other], CLOSED, in_flight=16) == [other]
    assert select([one, other], "something else") == []


def test_a_ratio_is_taken_round_by_round() -> None:
    ours, theirs = commands(LOCKSTREAM, 64, 80.0, 10.0), commands(PUBLISH_ONLY, 64, 100.0, 20.0)
    assert ratios(ours, theirs, "per_second") == [0.8, 0.5]


@pytest.mark.parametrize(
    ("what", "in_flight", "met_at", "missed_at"),
    [
        ("commands/s beside an endpoint that only publishes, 256 in flight", 256, 60.0, 59.0),
        ("the same, 64 in flight", 64, 45.0, 44.0),
        ("the same, 16 in flight", 16, 30.0, 29.0),
    ],
)
def test_the_ratio_to_publishing_only_is_judged_by_how_much_is_in_flight(
    what: str, in_flight: int, met_at: float, missed_at: float
) -> None:
    # What is measured elsewhere says nothing of it.
    others = [
        commands(server, n, rate)
        for n in (1, 4, 16, 64, 256)
        for server, rate in ((LOCKSTREAM, 1.0), (PUBLISH_ONLY, 100.0))
        if n != in_flight
    ]
    theirs = commands(PUBLISH_ONLY, in_flight, 100.0)
    assert met([*others, commands(LOCKSTREAM, in_flight, met_at), theirs])[what] is True
    assert met([*others, commands(LOCKSTREAM, in_flight, missed_at), theirs])[what] is False


def test_our_endpoint_alone_and_postgresql_are_compared_too() -> None:
    theirs = commands(PUBLISH_ONLY, 256, 100.0)
    alone = "our endpoint alone beside that one, 256 in flight"
    assert met([commands(UNVERSIONED, 256, 80.0), theirs])[alone] is True
    assert met([commands(UNVERSIONED, 256, 79.0), theirs])[alone] is False
    postgres = "commands/s beside PostgreSQL with a version check, 256 in flight"
    ours = commands(LOCKSTREAM, 256, 150.0)
    assert met([ours, commands(POSTGRES, 256, 100.0)])[postgres] is True
    assert met([ours, commands(POSTGRES, 256, 101.0)])[postgres] is False


def test_what_was_changed_is_judged_beside_what_was_before() -> None:
    def turns(code: str, *costs: float) -> Measurement:
        rounds = [{"total_cpu_ms": cost, "fanout_cpu_ms": 0.4} for cost in costs]
        return Measurement(COMMAND_TURNS, {"code": code, "in_flight": 16}, rounds)

    name = "CPU of a command, 16 in flight, after / before"
    before = turns(BEFORE, 2.0, 4.0)
    judged = {each.target.what: each for each in judge([before, turns(AFTER, 1.0, 1.6)])}
    assert judged[name].measured == pytest.approx(0.45)
    assert (judged[name].met, judged[name].aim_met) == (True, False)
    assert judged["the same, the fan-out's share"].measured == 1.0
    assert judged["the same, the fan-out's share"].met is False
    assert met([turns(AFTER, 1.0)])[name] is None


@pytest.mark.parametrize("work", [BACKLOG, "rebuild", "verify"])
def test_events_for_a_second_of_cpu_are_judged_for_each_that_works_off_a_stream(work: str) -> None:
    def turns(code: str, events: float) -> Measurement:
        rounds = [{"events_per_cpu_second": events}]
        return Measurement(BACKLOG_TURNS, {"work": work, "code": code}, rounds)

    verdicts = met([turns(BEFORE, 100.0), turns(AFTER, 150.0)])
    assert [what for what, verdict in verdicts.items() if verdict is not None] == [
        f"{'projector, backlog' if work == BACKLOG else work}: "
        "events for a second of CPU, after / before"
    ]


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    assert set(met([]).values()) == {None}


def test_a_cost_that_grows_by_more_than_a_quarter_is_not_flat() -> None:
    def growing(*costs: float) -> list[Measurement]:
        return [
            Measurement(EVENTS_GROWTH, {"size": 10**n}, [{"cpu_ms": cost}])
            for n, cost in enumerate(costs)
        ]

    name = "CPU for a command, most events / fewest"
    assert met(growing(1.0, 1.2))[name] is True
    assert met(growing(1.0, 1.1, 1.3))[name] is False


def test_the_report_shows_medians_spreads_and_targets() -> None:
    quickest = commands(LOCKSTREAM, 1, 100.0, 300.0, 200.0)
    text = report(Results(False, {"commands": part(quickest, commands(PUBLISH_ONLY, 1, 400.0))}))
    assert "| Lockstream | 1 | 0.25 | 200 (100–300) |" in text
    p50 = "p50 of one client beside that endpoint's"
    assert f"| {p50} | ≤ 6.00 × | ≤ 4.00 × | 1.00 × | met, and the aim |" in text
    assert "not measured" in text
    assert "2 cores" in text


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    document = "a\n<!-- written by the bench: x -->\nold\n<!-- end: x -->\nb"
    once = put_between_markers(document, "x", "new")
    assert once == "a\n<!-- written by the bench: x -->\nnew\n<!-- end: x -->\nb"
    assert put_between_markers(once, "x", "new") == once
    with pytest.raises(ValueError, match="'y'"):
        put_between_markers(document, "y", "new")


def test_the_published_page_has_the_markers() -> None:
    page = Path(__file__).parents[3] / "docs" / "performance.md"
    assert "new text" in put_between_markers(page.read_text(), "results", "new text")


def test_figures_have_three_digits_and_titles_a_unit() -> None:
    assert [figure(v) for v in (12345.6, 99.94, 1.234, 0.0123, 0)] == [
        "12,346",
        "99.9",
        "1.23",
        "0.012",
        "0.00",
    ]
    assert title("peak_mib") == "peak, MiB"
    assert title("facts_per_second") == "facts per second"
    assert table(("a",), []) == ""


def test_a_part_that_is_measured_again_replaces_only_itself(tmp_path: Path) -> None:
    file = results_file(tmp_path, "2026-11-23", quick=False)
    keep_part(file, False, "commands", part(commands(LOCKSTREAM, 1, 1.0)))
    keep_part(file, False, "stages", part())
    keep_part(file, False, "commands", part(commands(LOCKSTREAM, 1, 2.0)))
    found = read_results(file)
    assert set(found.parts) == {"commands", "stages"}
    assert found.measurements == [commands(LOCKSTREAM, 1, 2.0)]


def test_each_part_is_reported_as_it_was_last_measured_in_full(tmp_path: Path) -> None:
    assert newest_parts(tmp_path).parts == {}
    older, newer, rehearsed = (part(commands(LOCKSTREAM, 1, rate)) for rate in (1.0, 2.0, 3.0))
    keep_part(results_file(tmp_path, "2026-11-22", quick=False), False, "commands", older)
    keep_part(results_file(tmp_path, "2026-11-22", quick=False), False, "stages", older)
    keep_part(results_file(tmp_path, "2026-11-23", quick=False), False, "commands", newer)
    keep_part(results_file(tmp_path, "2026-11-24", quick=True), True, "commands", rehearsed)
    assert newest_parts(tmp_path).parts == {"commands": newer, "stages": older}


def test_how_fast_the_machine_was_is_said_with_what_was_measured_on_it() -> None:
    measured = msgspec.structs.replace(
        part(commands(LOCKSTREAM, 1, 100)),
        additions_per_microsecond=(24.04, 15.5),
        round_trip_microseconds=(21.4, 90.0),
    )
    said = report(Results(False, {"commands": measured}))
    assert "Python adds 24.0 times a microsecond before it and 15.5 after" in said
    assert "a byte to another process and back takes 21 and 90 µs" in said


def test_what_is_measured_at_ten_million_too_is_judged_at_one() -> None:
    def read(reader: str, events: int, rate: float) -> Measurement:
        parameters: dict[str, str | int | float] = {"reader": reader, "events": events}
        return Measurement(READERS, parameters, [{"events_per_second": rate}])

    readers = [
        read(reader, events, rate)
        for events, ours in ((10_000_000, 70.0), (1_000_000, 90.0))
        for reader, rate in (("replay to NDJSON", ours), ("bare aiokafka", 100.0))
    ]
    assert met(readers)["replay beside a bare aiokafka consumer"] is True
    assert met(readers[::-1])["replay beside a bare aiokafka consumer"] is True
