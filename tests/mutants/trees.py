"""Copies of the source tree, for one bug at a time."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.kept import Mutant

ROOT = Path(__file__).parents[2]


class DoesNotApply(Exception):
    """The code has no such place any more, or several."""


class Tree:
    """A copy of what git knows of, as it stands now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def copy_to(cls, folder: Path) -> "Tree":
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in listed.stdout.decode().split("\0"):
            source = ROOT / name
            if name and source.is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        return cls(folder)

    @contextmanager
    def with_bug(self, mutant: Mutant) -> Iterator[None]:
        """
        Raises:
            DoesNotApply: the place is not there exactly once.
        """
        file = self.folder / mutant.file
        code = file.read_text() if file.is_file() else ""
        changed = mutant.applied_to(code)
        if changed is None:
            raise DoesNotApply(f"{mutant.file} has the place {code.count(mutant.find)} times")
        self._write(file, changed)
        try:
            yield
        finally:
            self._write(file, code)

    def _write(self, file: Path, code: str) -> None:
        # Python takes compiled code for its source if size and second are the same.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(code)
