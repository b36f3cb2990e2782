"""The kept bugs still fit the code, and stand for all that is promised."""

from pathlib import Path
from typing import get_args

import pytest

from command_api.errors import STATUS_OF
from operations.audit.violations import Kind
from schemas.parked_facts import Reason
from tests.mutants.kept import BadMutant, Mutant, kept_mutants
from tests.mutants.trees import ROOT

MUTANTS = kept_mutants()
COVERED = {covered for mutant in MUTANTS for covered in mutant.covers}
OF_A_LIBRARY = "–"
"""Stands for the mutants of what no code of ours does."""
RULES = range(1, 11)
"""Those that keep the log correct, 1 to 10 (ARCHITECTURE.md)."""

AUTHORISATION = (
    "/metrics",
    "algorithms",
    "another organisation's event",
    "another organisation's fact",
    "another organisation's lock",
    "exp",
    "expired",
    "iat",
    "issuers",
    "key rotation",
    "lifetime",
    "nbf",
    "required claims",
    "revoked",
    "scope",
    "staleness",
    "sub",
    "the API key's secret",
    "the audience",
    "the key comes first",
    "the key's length",
    "the key's organisation",
    "the token's organisation",
    "trailers",
    "trusted hosts",
    "trusted proxies",
    "typ",
    "unknown keys",
    "where keys come from",
)
"""Whatever decides who is let in, and what is shown to whom."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_its_tests_are_there(mutant: Mutant) -> None:
    code = (ROOT / mutant.file).read_text()
    assert mutant.applied_to(code) is not None, f"{mutant.file} has the place no more, or often"
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text()


def _wanted() -> set[str]:
    """What has to have a mutant: each violation, each reason for parking, each line of the table of
    errors, each decision about who is let in, each rule."""
    errors = [kind.__name__ for kind in STATUS_OF if kind is not Exception]
    return {
        *(f"verify: {kind}" for kind in get_args(Kind)),
        *(f"reason: {reason}" for reason in get_args(Reason)),
        *(f"error: {name}" for name in errors),
        *(f"authorisation: {decision}" for decision in AUTHORISATION),
        *(f"rule {number}" for number in RULES),
    }


def test_whatever_is_promised_has_a_mutant() -> None:
    assert _wanted() == COVERED


def test_every_promise_names_mutants_that_are_there() -> None:
    names = {mutant.name for mutant in MUTANTS}
    rows = _rows_of((ROOT / "RELIABILITY.md").read_text(), "## The promises")
    assert rows
    for promise, _, mutants in rows:
        if mutants == OF_A_LIBRARY:
            continue
        named = [name.strip(" `") for name in mutants.split(",") if name.strip()]
        assert named, f"no mutant stands behind: {promise}"
        assert set(named) <= names, promise


def _rows_of(text: str, heading: str) -> list[list[str]]:
    section = text.partition(heading)[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("promise =", "Invalid"),
        ('promise = "It holds."', "missing required field"),
        (
            'promise = "It holds."\nfile = "a.py"\nfind = "a"\nreplace = "a"\ntests = ["t::t"]',
            "chang",
        ),
        (
            'promise = "It holds."\nfile = "a.py"\nfind = "a"\nreplace = "b"\ntests = []',
            "names none",
        ),
        ('promise = "."\nfile = "a"\nfind = "a"\nreplace = "b"\ntests = ["t::t[x]"]', "parameters"),
        (
            'promise = "."\nfile = "a"\nfind = "a"\nreplace = "b"\ntests = ["t::t"]\nx = 1',
            "unknown",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadMutant, match=f"(?i)^bad: .*{problem}"):
        kept_mutants(file.parent)


def test_a_place_that_is_there_twice_is_no_place() -> None:
    mutant = Mutant("name", "It holds.", "a.py", "x = 1", "x = 2", ("t::t",))
    assert mutant.applied_to("x = 1\n") == "x = 2\n"
    assert mutant.applied_to("x = 1\nx = 1\n") is None
    assert mutant.applied_to("x = 3\n") is None
