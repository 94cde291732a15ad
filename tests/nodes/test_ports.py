"""Port types of nodes: one name stands for one range."""

from __future__ import annotations

import ast
from collections import Counter

from tests.paths import ROOT


def port_types() -> list[str]:
    """Return the names of the port types that node modules define, one for each definition."""
    return [
        target.id
        for path in (ROOT / "nodes").glob("*.py")
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]


def test_a_port_type_is_defined_once() -> None:
    names = Counter(port_types())
    assert names["Seed"] == 1
    assert [name for name, count in names.items() if count > 1] == []
