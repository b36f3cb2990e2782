"""``make bench``: measures, keeps the figures in bench/results, writes docs/performance.md."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import describe_machine
from bench.parts.commands import compare_commands
from bench.placement import place
from bench.progress import Progress
from bench.report import put_between_markers, report
from bench.results import FOLDER, Part, keep_part, newest_file, read_results, results_file
from bench.sizes import sizes_of
from bench.targets import judge
from bench.workbench import Workbench

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
PARTS: Mapping[str, Callable[[Workbench], None]] = {
    "commands": compare_commands,
}


def main() -> None:
    options = _options()
    if options.report:
        file = newest_file(FOLDER)
        if file is None:
            sys.exit(f"there are no results in {FOLDER}: run the bench first")
        write_report(file)
        return
    chosen = options.only or list(PARTS)
    file = results_file(FOLDER, datetime.now(UTC).date().isoformat(), options.quick)
    with Progress(len(chosen)) as progress:
        for name in chosen:
            progress.part(name)
            _measure(name, options, file, progress)
            progress.part_done()
    print(f"figures: {file}")
    for judged in judge(read_results(file).measurements):
        if judged.met is False:
            print(f"not met: {judged.target.what}: {judged.measured:,.4g} {judged.target.unit}")
    # A quick run is a rehearsal: its figures are too rough to be published.
    if not options.quick:
        write_report(file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: a rehearsal")
    parser.add_argument("--big", action="store_true", help="ten million events, a million locks")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only this part")
    parser.add_argument("--report", action="store_true", help="write the newest results again")
    parser.add_argument(
        "--placement",
        choices=("split", "free"),
        default="split",
        help="split: load and broker on one half of the cores, the measured process on the other",
    )
    return parser.parse_args()


def _measure(name: str, options: argparse.Namespace, file: Path, progress: Progress) -> None:
    """Each part has a broker of its own, so that none inherits the topics of another."""
    machine = describe_machine()
    placement = place(options.placement)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="lockstream-bench-") as folder,
        Workbench(Path(folder), sizes_of(options.quick, options.big), placement, progress) as bench,
    ):
        PARTS[name](bench)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    took = time.monotonic() - begun
    part = Part(at, round(took, 1), machine, placement.described, bench.measurements)
    keep_part(file, options.quick, name, part)


def write_report(file: Path) -> None:
    # Only the report needs what draws.
    from bench.plots import draw

    results = read_results(file)
    document = put_between_markers(DOCUMENT.read_text(), "results", report(results))
    DOCUMENT.write_text(document)
    draw(results.measurements, DOCUMENT.parent)
    print(f"report: {DOCUMENT}")


if __name__ == "__main__":
    main()
