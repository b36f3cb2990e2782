"""ARCHITECTURE.md names what is there: every module, every step of a command, every test."""

import ast
import re
from collections import Counter
from pathlib import Path

from runtime.logs import PACKAGES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """The text between a heading and the next of its rank."""
    _, _, rest = DOCUMENT.partition(f"\n## {title}\n")
    assert rest, f"there is no section {title!r}"
    return rest.split("\n## ")[0]


def test_the_file_map_has_one_line_for_each_module() -> None:
    named: Counter[str] = Counter()
    for part in section("File map").split("\n### ")[1:]:
        folder = part.split("`")[1]
        named.update(folder + name for name in re.findall(r"^\| `([\w/]+\.py)` \|", part, re.M))
    modules = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if file.name != "__init__.py"
    }
    assert set(named) == modules
    assert [name for name, count in named.items() if count > 1] == []


def test_the_walk_of_a_command_names_functions_that_exist() -> None:
    steps = re.findall(r"`([\w/]+\.py):([\w.]+)`", section("What happens to one command"))
    assert len(steps) > 20
    for file, name in steps:
        body = ast.parse((ROOT / file).read_text()).body
        for part in name.split("."):
            found = [
                node
                for node in body
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name == part
            ]
            assert found, f"{file} has no {name}"
            body = found[0].body


def test_every_test_that_it_names_exists() -> None:
    tests = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", DOCUMENT + (ROOT / "RELIABILITY.md").read_text()):
        assert f"def {name}(" in tests, name


def test_every_path_that_a_document_names_exists() -> None:
    for document in ROOT.glob("*.md"):
        for path in re.findall(r"`([\w-]+/[\w./-]*)`", document.read_text()):
            mutant = ROOT / "tests" / "mutants" / f"{path}.toml"
            if (ROOT / path.split("/")[0]).is_dir() and not mutant.is_file():
                assert (ROOT / path).exists(), f"{document.name}: {path}"
