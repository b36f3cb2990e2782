"""Makes the tables of ``docs/performance.md`` from results. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from bench.distributions import median
from bench.measurement import Measurement, select
from bench.names import (
    BACKLOG_TURNS,
    BUDGET,
    CLOSED,
    COLD,
    COMMAND_TURNS,
    CORES,
    DISTRIBUTED,
    DRAIN,
    FANOUT,
    GROWTHS,
    LOCKSTREAM,
    OPEN,
    PARTITIONS,
    PROFILE,
    PUBLISH_ONLY,
    READERS,
    ROLES,
    TRANSACTIONS,
    WHOLE_PATH,
)
from bench.results import Part, Results
from bench.targets import Judged, Target, judge, ratios

BEGIN, END = "<!-- written by the bench: {} -->", "<!-- end: {} -->"
LATENCIES = ("p50_ms", "p99_ms", "p99.9_ms")
All = Sequence[Measurement]


def put_between_markers(document: str, name: str, text: str) -> str:
    """Returns the document with what stands between two markers replaced.

    Raises:
        ValueError: it has no such markers.
    """
    begin, end = BEGIN.format(name), END.format(name)
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there are no markers {name!r}")
    return f"{head}{begin}\n{text.strip()}\n{end}{tail}"


def report(results: Results) -> str:
    """Returns all tables, in Markdown."""
    found = results.measurements
    sections = [
        ("Targets", _targets(found)),
        ("The command path, beside what people would write instead", _commands(found)),
        ("Before and after", _turns(found)),
        ("Open loop", _open(found)),
        ("Kinds of load", _distributed(found)),
        ("Each stage alone", _stages(found)),
        ("The whole path", _whole_path(found)),
        ("Growth", _growth(found)),
        ("Where the time goes", _budget(found)),
        ("Measured on", _measured_on(results.parts)),
    ]
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections if text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; empty without rows. All columns but the first are numbers."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    rule = "|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|"
    return "\n".join([f"| {' | '.join(columns)} |", rule, *lines])


def figure(value: float) -> str:
    """Writes a number with three digits, more only before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


def _spread(measurement: Measurement, number: str) -> str:
    """Writes the median, and the range in which all rounds lie."""
    if len(measurement.rounds) < 2:
        return figure(measurement.median(number))
    least, greatest = measurement.spread(number)
    return f"{figure(measurement.median(number))} ({figure(least)}–{figure(greatest)})"


def _has(measurement: Measurement, number: str) -> bool:
    return any(number in numbers for numbers in measurement.rounds)


def _targets(found: All) -> str:
    rows = [
        (
            judged.target.what,
            _bound(judged.target, judged.target.limit),
            "" if judged.target.aim is None else _bound(judged.target, judged.target.aim),
            "" if judged.measured is None else f"{figure(judged.measured)} {judged.target.unit}",
            _verdict(judged),
        )
        for judged in judge(found)
    ]
    return table(("", "target", "aim", "measured", ""), rows)


def _bound(target: Target, bound: float) -> str:
    return f"{'≥' if target.at_least else '≤'} {figure(bound)} {target.unit}"


def _verdict(judged: Judged) -> str:
    if judged.met is None:
        return "not measured"
    if not judged.met:
        return "**not met**"
    return "met, and the aim" if judged.target.aim is not None and judged.aim_met else "met"


def _commands(found: All) -> str:
    rows = []
    for m in select(found, CLOSED):
        in_flight = m.parameters["in_flight"]
        base = select(found, CLOSED, server=PUBLISH_ONLY, in_flight=in_flight)
        beside = ratios(m, base[-1], "per_second") if base else []
        rows.append(
            (
                str(m.parameters["server"]),
                str(in_flight),
                _ratio(beside),
                _spread(m, "per_second"),
                *(_spread(m, latency) for latency in LATENCIES),
                figure(m.median("cpu_ms")),
                figure(m.median("broker_cpu_ms")) if _has(m, "broker_cpu_ms") else "",
            )
        )
    columns = ("server", "in flight", f"× {PUBLISH_ONLY}", "answers/s", "p50, ms", "p99, ms")
    return table((*columns, "p99.9, ms", "CPU, ms", "broker's CPU, ms"), rows)


def _ratio(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) < 2:
        return figure(values[0])
    return f"{figure(median(values))} ({figure(min(values))}–{figure(max(values))})"


def _open(found: All) -> str:
    rows = [
        (
            str(m.parameters["server"]),
            str(m.parameters["rate"]),
            figure(m.median("per_second")),
            *(_spread(m, latency) for latency in LATENCIES),
            figure(m.median("sent_late_p99_ms")) if _has(m, "sent_late_p99_ms") else "",
        )
        for m in select(found, OPEN)
    ]
    columns = ("server", "asked for, /s", "answered, /s", "p50, ms", "p99, ms", "p99.9, ms")
    return table((*columns, "generator late, p99, ms"), rows)


def _distributed(found: All) -> str:
    measured = [*select(found, COLD, server=LOCKSTREAM), *select(found, DISTRIBUTED)]
    rows = [
        (
            str(m.parameters.get("locks", "first seconds after the start")),
            str(m.parameters["in_flight"]),
            _spread(m, "per_second"),
            *(_spread(m, latency) for latency in LATENCIES),
        )
        for m in measured
    ]
    columns = ("locks", "in flight", "commands/s", "p50, ms", "p99, ms", "p99.9, ms")
    numbers = ("per_second", *LATENCIES, "cpu_ms", "broker_cpu_ms")
    others = (_any(found, name, numbers) for name in (PARTITIONS, CORES))
    tables = (table(columns, rows), *others)
    return "\n\n".join(part for part in tables if part)


def _stages(found: All) -> str:
    names = (DRAIN, FANOUT, READERS, TRANSACTIONS)
    return "\n\n".join(part for name in names if (part := _any(found, name)))


def _turns(found: All) -> str:
    costs = [f"{role}_cpu_ms" for role in ("total", *ROLES, "broker")]
    parts = (
        _any(found, COMMAND_TURNS, [*costs, "per_second", "p50_ms"]),
        _any(found, BACKLOG_TURNS),
    )
    return "\n\n".join(part for part in parts if part)


def _whole_path(found: All) -> str:
    numbers = ("p50_ms", "p99_ms", "p99.9_ms", "answered_p50_ms", "answered_p99_ms")
    return _any(found, WHOLE_PATH, numbers)


def _growth(found: All) -> str:
    numbers = ("cpu_ms", "broker_cpu_ms", "p50_ms", "p99_ms", "p99.9_ms", "undelivered_records")
    return "\n\n".join(part for name in GROWTHS if (part := _any(found, name, numbers)))


def _budget(found: All) -> str:
    parts = [_any(found, BUDGET)]
    for m in select(found, PROFILE):
        shares = sorted(m.rounds[-1].items(), key=lambda item: -item[1])
        parts.append(
            f"Profile of the {m.parameters['role']} under load: whose code was on top\n\n"
            + table(("", "% of samples"), [(name, figure(share)) for name, share in shares])
        )
    return "\n\n".join(part for part in parts if part)


def _any(found: All, name: str, numbers: Sequence[str] = ()) -> str:
    """Shows one kind of measurement: its parameters, then these numbers, or all that it has."""
    measured = select(found, name)
    if not measured:
        return ""
    parameters = list(dict.fromkeys(key for m in measured for key in m.parameters))
    numbers = numbers or list(dict.fromkeys(key for m in measured for r in m.rounds for key in r))
    rows = [
        (
            *(str(m.parameters.get(key, "")) for key in parameters),
            *(_spread(m, key) if _has(m, key) else "" for key in numbers),
        )
        for m in measured
    ]
    named = [title(key) for key in (*parameters, *numbers)]
    return f"{name[0].upper()}{name[1:]}\n\n{table(named, rows)}"


def title(name: str) -> str:
    """Turns ``facts_per_cpu_second`` into ``facts per cpu second``; units behind a comma."""
    for unit in ("_ms", "_mib", "_percent"):
        if name.endswith(unit):
            shown = {"_ms": "ms", "_mib": "MiB", "_percent": "%"}[unit]
            return f"{name.removesuffix(unit).replace('_', ' ')}, {shown}"
    return name.replace("_", " ")


def _measured_on(parts: Mapping[str, Part]) -> str:
    """Writes one line for each run: its parts were measured on one machine and broker."""
    described: dict[str, list[str]] = {}
    for name, part in parts.items():
        described.setdefault(_machine(part), []).append(
            f"{name} ({part.at}, {part.seconds:,.0f} s{_speed(part)})"
        )
    return "\n".join(f"- {', '.join(names)}: {machine}" for machine, names in described.items())


def _speed(part: Part) -> str:
    said = ""
    if part.additions_per_microsecond is not None:
        before, after = part.additions_per_microsecond
        said += f"; Python adds {before:.1f} times a microsecond before it and {after:.1f} after"
    if part.round_trip_microseconds is not None:
        before, after = part.round_trip_microseconds
        said += f"; a byte to another process and back takes {before:.0f} and {after:.0f} µs"
    return said


def _machine(part: Part) -> str:
    machine = part.machine
    packages = ", ".join(f"{package} {number}" for package, number in machine.versions.items())
    return (
        f"commit {machine.commit}; {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gib} GiB, {machine.system}, Python {machine.python}; "
        f"load average before {machine.load_average[0]} (1 min), "
        f"{machine.load_average[1]} (5 min); {part.placement}; {packages}"
    )
