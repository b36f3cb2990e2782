"""Keeps what a run leaves behind: one JSON file a day, its parts replaced one by one."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.machine import Machine
from bench.measurement import Measurement

FOLDER = Path(__file__).parent / "results"


class Part(msgspec.Struct, frozen=True):
    """One part of the bench. All its measurements come from one run on one broker.
    ``additions_per_microsecond``, ``round_trip_microseconds``: how fast the machine was before and
    after, see ``bench.machine``.
    """

    at: str
    seconds: float
    machine: Machine
    placement: str
    measurements: list[Measurement]
    additions_per_microsecond: tuple[float, float] | None = None
    round_trip_microseconds: tuple[float, float] | None = None


class Results(msgspec.Struct, frozen=True):
    """Holds the parts of a day by name, in the order of the report."""

    quick: bool
    parts: dict[str, Part]

    @property
    def measurements(self) -> Sequence[Measurement]:
        return [m for part in self.parts.values() for m in part.measurements]


def results_file(folder: Path, date: str, quick: bool) -> Path:
    return folder / f"{date}{'-quick' if quick else ''}.json"


def read_results(file: Path) -> Results:
    """Reads a file of results.

    Raises:
        msgspec.DecodeError: the file is not a result.
    """
    return msgspec.json.decode(file.read_bytes(), type=Results)


def newest_parts(folder: Path) -> Results:
    """Returns each part as it was last measured in full, whatever day that was.

    Raises:
        msgspec.DecodeError: a file is not a result.
    """
    parts: dict[str, Part] = {}
    for file in sorted(folder.glob("*.json")):
        results = read_results(file)
        if not results.quick:
            parts |= results.parts
    return Results(False, parts)


def keep_part(file: Path, quick: bool, name: str, part: Part) -> None:
    """Puts one part into the file, whose other parts stay: a run that breaks off keeps what it
    has."""
    before = read_results(file).parts if file.exists() else {}
    results = Results(quick, {**before, name: part})
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(results)), indent=1) + b"\n")


def _rounded(results: Results) -> Results:
    """Rounds to six digits: more than any machine repeats."""
    parts = {
        name: msgspec.structs.replace(
            part,
            measurements=[
                msgspec.structs.replace(
                    m, rounds=[{k: float(f"{v:.6g}") for k, v in r.items()} for r in m.rounds]
                )
                for m in part.measurements
            ],
        )
        for name, part in results.parts.items()
    }
    return msgspec.structs.replace(results, parts=parts)
