"""``make bench``: measures, keeps the figures in bench/results, writes docs/performance.md."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import (
    Machine,
    additions_per_microsecond,
    describe_machine,
    round_trip_microseconds,
)
from bench.parts.big import measure_big
from bench.parts.budget import measure_budget
from bench.parts.commands import compare_commands
from bench.parts.cores import compare_cores
from bench.parts.growth import measure_growth
from bench.parts.partitions import compare_partitions
from bench.parts.stages import measure_stages
from bench.parts.turns import take_turns
from bench.parts.whole_path import measure_whole_path
from bench.placement import place
from bench.plots import draw
from bench.progress import Progress
from bench.report import put_between_markers, report
from bench.results import FOLDER, Part, keep_part, newest_parts, read_results, results_file
from bench.sizes import FULL, QUICK
from bench.targets import judge
from bench.trees import check_out
from bench.workbench import Workbench

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BIG, TURNS = "big", "turns"
PARTS: Mapping[str, Callable[[Workbench], None]] = {
    "commands": compare_commands,
    TURNS: take_turns,
    "partitions": compare_partitions,
    "cores": compare_cores,
    "stages": measure_stages,
    "whole-path": measure_whole_path,
    "growth": measure_growth,
    "budget": measure_budget,
    BIG: measure_big,
}


def main() -> None:
    options = _options()
    if TURNS in (options.only or ()) and not options.before:
        sys.exit(f"--only {TURNS} needs --before COMMIT: whose code takes turns with this one")
    if options.report:
        write_report()
        return
    asked_for = {BIG: options.big, TURNS: options.before}
    chosen = options.only or [name for name in PARTS if asked_for.get(name, True)]
    file = results_file(FOLDER, datetime.now(UTC).date().isoformat(), options.quick)
    sizes, placement = QUICK if options.quick else FULL, place(options.placement)
    with (
        Progress(len(chosen)) as progress,
        tempfile.TemporaryDirectory(prefix="lockstream-bench-") as folder,
    ):
        machine = describe_machine()
        before = check_out(options.before, Path(folder) / "before") if options.before else None
        with Workbench(Path(folder), sizes, placement, progress, before) as bench:
            for name in chosen:
                bench.settle()
                progress.part(name)
                keep_part(file, options.quick, name, _measure(name, bench, machine))
                progress.part_done()
    print(f"figures: {file}")
    for judged in judge(read_results(file).measurements):
        if judged.met is False:
            print(f"not met: {judged.target.what}: {judged.measured:,.4g} {judged.target.unit}")
    # A quick run is a rehearsal: its figures are too rough to be published.
    if not options.quick:
        write_report()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes: a rehearsal")
    parser.add_argument("--big", action="store_true", help="ten million events too")
    parser.add_argument("--before", metavar="COMMIT", help="whose code takes turns with this one")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only this part")
    parser.add_argument("--report", action="store_true", help="write the newest results again")
    parser.add_argument(
        "--placement",
        choices=("split", "free"),
        default="free",
        help="free: the kernel places all; split: load and broker on one half of the cores",
    )
    return parser.parse_args()


def _measure(name: str, bench: Workbench, machine: Machine) -> Part:
    started_at = time.monotonic()
    before = additions_per_microsecond(), round_trip_microseconds()
    PARTS[name](bench)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    took = round(time.monotonic() - started_at, 1)
    after = additions_per_microsecond(), round_trip_microseconds()
    additions, round_trips = zip(before, after, strict=True)
    return Part(at, took, machine, bench.placement.described, bench.take(), additions, round_trips)


def write_report() -> None:
    """Writes the report from the newest results of each part that was ever measured in full.

    Raises:
        SystemExit: there is none.
    """
    results = newest_parts(FOLDER)
    if not results.parts:
        sys.exit(f"there are no results in {FOLDER}: run the bench first")
    drawn = draw(results.measurements, DOCUMENT.parent)
    pictures = "\n\n".join(
        f"![{picture.stem.replace('-', ' ')}]({picture.name})" for picture in drawn
    )
    text = f"{pictures}\n\n{report(results)}"
    DOCUMENT.write_text(put_between_markers(DOCUMENT.read_text(), "results", text))
    print(f"report: {DOCUMENT}")


if __name__ == "__main__":
    main()
