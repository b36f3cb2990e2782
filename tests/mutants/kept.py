"""The kept list: one TOML file for each mutant."""

import tomllib
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent


class BadMutant(Exception):
    """A file of the list can't be used; the text names it and says what is wrong."""


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plausible bug.

    ``promise``: what it breaks, in a sentence; ``covers``: what must have a mutant and has this one
    (``tests/unit/test_mutants.py``); ``tests``: node ids without parameters; all must fail.
    """

    name: str
    promise: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    covers: tuple[str, ...] = ()

    def applied_to(self, code: str) -> str | None:
        """The code with the bug, or None if the place isn't there, or is there more than once."""
        if code.count(self.find) != 1:
            return None
        return code.replace(self.find, self.replace)


def kept_mutants(folder: Path = FOLDER) -> tuple[Mutant, ...]:
    """
    Raises:
        BadMutant: a file can't be read, or asks for nothing.
    """
    return tuple(_read(file, folder) for file in sorted(folder.rglob("*.toml")))


def _read(file: Path, folder: Path) -> Mutant:
    name = file.relative_to(folder).with_suffix("").as_posix()
    try:
        mutant = msgspec.convert({"name": name, **tomllib.loads(file.read_text())}, Mutant)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadMutant(f"{name}: {error}") from error
    if mutant.find == mutant.replace or not mutant.find.strip():
        raise BadMutant(f"{name}: `find` and `replace` change nothing")
    if not mutant.tests:
        raise BadMutant(f"{name}: `tests` names none")
    if any("::" not in test or "[" in test for test in mutant.tests):
        raise BadMutant(f"{name}: `tests` takes path::test, without parameters")
    return mutant
