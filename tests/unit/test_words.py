"""What is written in docstrings can be read: whole sentences, none too long."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.logs import PACKAGES

ROOT = Path(__file__).parents[2]
MOST_WORDS = 25
SECTIONS = ("Raises:", "Args:", "Returns:", "Source:", "Yields:")
"""What may follow a first sentence, and not stand for it."""


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """Yields where each docstring stands, and its text."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ) and (text := ast.get_docstring(node)):
                where = getattr(node, "name", "module")
                yield f"{file.relative_to(ROOT)}: {where}", text


def first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.:;])\s", paragraph)[0]


def fault_of(text: str) -> str | None:
    """What is wrong with how a docstring begins, or None."""
    if text.startswith(SECTIONS):
        return "has no first sentence"
    if text.startswith(("Of ", "By ")):
        return "begins with a loose genitive"
    if (words := len(first_sentence(text).split())) > MOST_WORDS:
        return f"begins with a sentence of {words} words"
    return None


@pytest.mark.parametrize("package", [*PACKAGES, "bench", "chaos", "support"])
def test_a_docstring_begins_with_a_sentence_that_can_be_read(package: str) -> None:
    found = [(where, fault) for where, text in docstrings(package) if (fault := fault_of(text))]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["Raises:\n    ValueError: it is none.", "Of a partition.", "By hand.", " word" * 26],
)
def test_a_docstring_that_can_not_be_read_is_found(text: str) -> None:
    assert fault_of(text.strip()) is not None
    assert fault_of("It counts. " + text) is None
