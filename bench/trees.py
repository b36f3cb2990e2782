"""Runs the code of another commit beside this one's: by environment, commands and HTTP alone, since
internals differ."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
GIT_S = 120.0
IMPORT_S = 60.0


class Tree(msgspec.Struct, frozen=True):
    """A checkout of our code."""

    folder: Path
    commit: str

    def environment(self, others: Mapping[str, str]) -> dict[str, str]:
        """Returns an environment in which Python finds this tree's packages first."""
        return {**others, "PYTHONPATH": str(self.folder)}


HERE = Tree(ROOT, "this one")


def check_out(commit: str, folder: Path) -> Tree:
    """Puts the code of a commit into a folder; needs Git's repository.

    Raises:
        SystemExit: there is no such commit, or its code would not be what runs.
    """
    found = _git("rev-parse", "--short=8", "--verify", f"{commit}^{{commit}}").decode().strip()
    folder.mkdir(parents=True)
    unpack = subprocess.run(
        ["tar", "-x", "-C", str(folder)], input=_git("archive", found), timeout=GIT_S, check=False
    )
    tree = Tree(folder, found)
    if unpack.returncode or _imported(tree) != folder / "operations" / "__init__.py":
        sys.exit(f"the code of commit {commit} can't be run from {folder}")
    return tree


def _git(*arguments: str) -> bytes:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, timeout=GIT_S, check=False
    )
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _imported(tree: Tree) -> Path:
    """Returns which of the installed copies and trees Python takes the command from."""
    done = subprocess.run(
        [sys.executable, "-c", "import operations; print(operations.__file__)"],
        env=tree.environment(os.environ),
        cwd=tree.folder,
        capture_output=True,
        timeout=IMPORT_S,
        check=True,
    )
    return Path(done.stdout.decode().strip())
