"""The table of a run of the fault suite: what it counts, and for which fault."""

from chaos.history import Broken
from chaos.report import ELSEWHERE, Report, Row, as_markdown, make_report
from chaos.scene import Injection, Measured
from chaos.system import Recovery


def injection(
    fault: str, started_at: float, ended: float, *, in_flight: int = 0, skipped: str = ""
) -> Injection:
    return Injection(
        fault, alone=False, started_at=started_at, in_flight=in_flight, ended=ended, skipped=skipped
    )


def measured(
    bound_s: float, commands_s: float | None, delivery_s: float | None, usual_s: float = 0.5
) -> Measured:
    usual = Recovery(usual_s, 9.0)
    return Measured("", bound_s, Recovery(commands_s, delivery_s), usual=usual)


OWN = Broken("everything recovers within its bound", "it took 9 s")


def found(what: str, at: float | None) -> Broken:
    return Broken("what was read stays", what, at)


def report() -> Report:
    first, second = injection("kill", 10.0, 20.0, in_flight=3), injection("kill", 40.0, 50.0)
    first.measured = [measured(3.0, 1.0, 2.0), measured(6.0, 2.5, None, 0.8)]
    second.measured = [measured(4.0, None, 1.0)]
    second.broken = [OWN]
    pause = injection("pause", 15.0, 25.0, in_flight=2)
    skipped = [injection("cut", 0.0, 0.0, skipped="no network") for _ in range(2)]
    at_the_end = [
        found("both", 15.0),
        found("at its very end", 20.0),
        found("between", 30.0),
        found("nobody knows when", None),
        found("at its very begin", 40.0),
    ]
    return make_report(7, 1.5, [pause, first, *skipped, second], at_the_end, (1234, 5678))


def test_each_kind_of_fault_has_a_row_with_its_slowest_recoveries_and_its_violations() -> None:
    assert report().rows == [
        Row("kill", 2, 1.5, 2.5, 2.0, 6.0, 0.8, 4),
        Row("pause", 1, 2.0, None, None, None, None, 2),
        Row(ELSEWHERE, 0, 0.0, None, None, None, None, 2),
    ]


def test_a_report_counts_what_was_done_and_names_what_was_not() -> None:
    made = report()
    assert (made.seed, made.minutes, made.injected) == (7, 1.5, 3)
    assert (made.events, made.operations) == (1234, 5678)
    assert made.skipped == ["cut: no network"]
    assert [broken.detail for broken in made.broken] == [
        "both",
        "at its very end",
        "between",
        "nobody knows when",
        "at its very begin",
        "it took 9 s",
    ]
    nothing = make_report(1, 1, [], [], (0, 0))
    assert (nothing.rows, nothing.broken, nothing.skipped) == ([], [], [])


def test_the_page_says_all_of_it() -> None:
    assert as_markdown(report()) == (
        "Seed 7, 1.5 minutes: 3 faults of 2 kinds, 5,678 commands, 1,234 events, 6 violations.\n\n"
        "| fault | injected | commands in flight | commands answered again after, s "
        "| delivered again after, s | bound, s | with nothing broken, s | violations |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|\n"
        "| kill | 2 | 2 | 2.5 | 2.0 | 6.0 | 0.8 | 4 |\n"
        "| pause | 1 | 2 | – | – | – | – | 2 |\n"
        "| (no fault under way) | 0 | 0 | – | – | – | – | 2 |\n"
        "\nNot injected: cut: no network."
        "\n- what was read stays: both\n- what was read stays: at its very end"
        "\n- what was read stays: between\n- what was read stays: nobody knows when"
        "\n- what was read stays: at its very begin"
        "\n- everything recovers within its bound: it took 9 s\n"
    )


def test_a_fault_that_nothing_is_blamed_on_has_no_violations() -> None:
    made = make_report(
        1, 1, [injection("kill", 1.0, 2.0)], [Broken("no event from nowhere", "", 3.0)], (0, 0)
    )
    assert [(row.fault, row.violations) for row in made.rows] == [("kill", 0), (ELSEWHERE, 1)]


def test_a_page_names_each_fault_that_was_not_injected_on_a_line_of_its_own() -> None:
    skipped = [injection(name, 0.0, 0.0, skipped="no network") for name in ("cut", "delay")]
    page = as_markdown(make_report(1, 1, skipped, [], (0, 0)))
    assert page.endswith("\nNot injected: cut: no network.\nNot injected: delay: no network.\n")


def test_a_page_shows_fifty_violations_at_most() -> None:
    many = make_report(1, 1, [], [found(str(n), None) for n in range(60)], (0, 0))
    page = as_markdown(many)
    assert "60 violations" in page
    assert page.count("\n- what was read stays: ") == 50
