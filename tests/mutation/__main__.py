"""Mutants of the pure modules, made and tried by mutmut: ``python -m tests.mutation [MODULE …]``.

Which modules, and by which tests, stands in ``pyproject.toml``. A mutant that no test notices has
to be named in ``equal.toml``, with the reason why it changes nothing; the others count against its
module. Module-level code has no mutants: what records look like is held by ``tests/golden/``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key
from rich.console import Console
from rich.table import Table

LEAST_KILLED = 0.9
WORK = Path("mutants")
EQUAL = Path(__file__).with_name("equal.toml")
NOTICED = ("killed", "timeout")


class Equal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change to a function that nobody can notice. ``was`` and ``now``: the lines of it."""

    module: str
    function: str
    was: str
    now: str
    why: str

    def __str__(self) -> str:
        return f"{self.module} {self.function}: {self.was!r} → {self.now!r}"


class AnyCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module in whose texts capital and small letters are one: changing these changes nothing."""

    module: str
    why: str


class PassedOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function of a pure module that is not pure itself."""

    module: str
    function: str
    why: str


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``equal.toml`` says."""

    equal: list[Equal] = []
    any_case: list[AnyCase] = []
    passed_over: list[PassedOver] = []


class Mutant(msgspec.Struct, frozen=True):
    name: str
    module: str
    function: str
    was: str
    now: str
    noticed: bool
    tried: bool

    def is_named_by(self, entry: Equal) -> bool:
        mine = (self.module, self.function, self.was, self.now)
        return mine == (entry.module, entry.function, entry.was.strip(), entry.now.strip())

    def is_equal_by(self, kept: Kept) -> bool:
        """Whether its being equal is said."""
        in_any_case = any(entry.module == self.module for entry in kept.any_case)
        if in_any_case and self.was.lower() == self.now.lower():
            return True
        return any(self.is_named_by(entry) for entry in kept.equal)


class Score(msgspec.Struct, frozen=True):
    """One module's mutants. ``alive``: those that nobody has named."""

    module: str
    mutants: int
    killed: int
    named: int
    alive: list[Mutant]

    @property
    def part(self) -> float:
        """Of those that could be noticed."""
        noticeable = self.mutants - self.named
        return self.killed / noticeable if noticeable else 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="schemas.topics, say; all if none")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--report", action="store_true", help="of the last run; runs nothing")
    asked = parser.parse_args()
    begun = time.monotonic()
    if not asked.report:
        if not asked.modules:
            # What mutmut remembers of earlier runs knows nothing of tests that changed since.
            shutil.rmtree(WORK, ignore_errors=True)
        names = [f"{module}.*" for module in asked.modules]
        command = [f"{sys.prefix}/bin/mutmut", "run", "--max-children", str(asked.workers), *names]
        if (code := subprocess.run(command, check=False).returncode) != 0:
            return code
    kept = msgspec.convert(tomllib.loads(EQUAL.read_text()), Kept)
    paths = [path for path in walk_mutatable_files() if _is_asked(path, asked.modules)]
    mutants = {str(path): list(_mutants_of(path, kept)) for path in paths}
    scores = [_score(module, found, kept) for module, found in mutants.items() if found]
    faults = list(_faults(scores, [m for found in mutants.values() for m in found], kept))
    _print(scores, time.monotonic() - begun)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _is_asked(path: Path, modules: Sequence[str]) -> bool:
    return not modules or ".".join(path.with_suffix("").parts) in modules


def _mutants_of(path: Path, kept: Kept) -> Iterator[Mutant]:
    data = SourceFileMutationData(path=path)
    data.load()
    passed_over = {each.function for each in kept.passed_over if each.module == str(path)}
    named = {each.function for each in kept.equal if each.module == str(path)}
    for name, code in data.exit_code_by_key.items():
        function, owner = orig_function_and_class_names_from_key(name)
        qualified = f"{owner}.{function}" if owner else function
        if qualified not in passed_over:
            noticed = status_by_exit_code[code] in NOTICED
            # To find it takes longer than to run some mutants.
            wanted = code is not None and (not noticed or qualified in named)
            change = _change(name, path) if wanted else ("", "")
            yield Mutant(name, str(path), qualified, *change, noticed, tried=code is not None)


def _change(name: str, path: Path) -> tuple[str, str]:
    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
    was, now = (
        "\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return was, now


def _score(module: str, mutants: Sequence[Mutant], kept: Kept) -> Score:
    unnoticed = [mutant for mutant in mutants if not mutant.noticed]
    alive = [mutant for mutant in unnoticed if not mutant.is_equal_by(kept)]
    killed = len(mutants) - len(unnoticed)
    return Score(module, len(mutants), killed, len(unnoticed) - len(alive), alive)


def _faults(scores: Sequence[Score], mutants: Sequence[Mutant], kept: Kept) -> Iterator[str]:
    for score in scores:
        if untried := [mutant for mutant in score.alive if not mutant.tried]:
            yield f"{score.module}: {len(untried)} mutants were not tried"
        elif score.part < LEAST_KILLED:
            yield f"{score.module}: only {score.part:.0%} are killed, and not {LEAST_KILLED:.0%}"
    read = {mutant.module for mutant in mutants}
    read -= {mutant.module for mutant in mutants if not mutant.tried}
    for entry in kept.equal:
        if entry.module not in read:
            continue
        meant = [mutant for mutant in mutants if mutant.is_named_by(entry)]
        if not meant:
            yield f"no longer applies: {entry}"
        elif all(mutant.noticed for mutant in meant):
            yield f"named as equal, and yet killed: {entry}"


def _print(scores: Sequence[Score], took_s: float) -> None:
    for mutant in (m for score in scores for m in score.alive if m.tried):
        print(f"alive: {mutant.name}\n  {mutant.module} {mutant.function}")
        for sign, text in (("-", mutant.was), ("+", mutant.now)):
            for line in text.splitlines():
                print(f"  {sign} {line}")
    table = Table("module", *("mutants", "killed", "named as equal", "alive", "killed of the rest"))
    for column in table.columns[1:]:
        column.justify = "right"
    for s in scores:
        numbers = (s.mutants, s.killed, s.named, len(s.alive))
        table.add_row(s.module, *map(str, numbers), f"{s.part:.1%}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    total = sum(score.mutants for score in scores)
    alive = sum(len(score.alive) for score in scores)
    print(f"{total} mutants of {len(scores)} modules, {alive} alive, in {took_s:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
