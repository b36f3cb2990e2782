"""What is not aiokafka's public API is used in ``aiokafka_internals`` and nowhere else."""

import ast
from pathlib import Path

EVENTLOG = Path(__file__).parents[3] / "eventlog"
OURS = ("self", "cls")


def test_no_other_module_reaches_into_an_object() -> None:
    found = [
        f"{file.relative_to(EVENTLOG)}:{node.lineno}: {ast.unparse(node)}"
        for file in sorted(EVENTLOG.rglob("*.py"))
        if file.name not in ("aiokafka_internals.py",)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in OURS)
    ]
    assert found == []
