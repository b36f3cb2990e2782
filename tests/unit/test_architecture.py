"""ARCHITECTURE.md names what is there: every module, every step of a command, every test."""

import ast
import re
from pathlib import Path

from runtime.logs import PACKAGES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """The text between a heading and the next of its rank."""
    _, _, rest = DOCUMENT.partition(f"\n## {title}\n")
    assert rest, f"there is no section {title!r}"
    return rest.split("\n## ")[0]


def first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph)[0].replace("``", "`").replace("|", r"\|")


def test_the_file_map_says_of_each_module_what_its_docstring_says() -> None:
    expected = {
        f"### `{file.parent.relative_to(ROOT)}/` | `{file.name}` | {first_sentence(file)} |"
        for folder in (*PACKAGES, "support", "bench", "chaos")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "__init__.py"
    }
    found = {
        f"### {part.splitlines()[0]} {row}"
        for part in section("File map").split("\n### ")[1:]
        for row in part.splitlines()
        if row.startswith("| `") and "`.py" not in row and ".py` |" in row
    }
    assert found == expected


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
