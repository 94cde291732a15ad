"""Checks of the inputs that a graph declares: type, range and default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..node.ports import Between
from ..node.spec import Port
from .graph import Graph, GraphInput
from .literal import LiteralError, coerce, describe_value

INPUTS = "inputs"
TYPES = {
    "int": "INT",
    "float": "FLOAT",
    "string": "STRING",
    "boolean": "BOOLEAN",
    "image": "STRING",
    "mask": "STRING",
    "file": "STRING",
}


def input_problems(graph: Graph) -> list[Problem]:
    """Return the problems of the declared inputs; references to them are checked at the nodes."""
    problems = []
    for name, graph_input in graph.inputs.items():
        try:
            read_graph_input(name, graph_input, graph_input.default)
        except LiteralError as error:
            problems.append(error.problem(INPUTS, "graph", name))
    return problems


def read_graph_input(name: str, graph_input: GraphInput, value: Any) -> Any:
    """Return a value converted to the type of a graph input; for a list, each of its values.

    Raises:
        LiteralError: the type is unknown, or the value has another type or is outside the range.
    """
    if graph_input.is_list:
        values = value if isinstance(value, list | tuple) else (value,)
        one = replace(graph_input, default=None)
        return tuple(read_graph_input(name, one, item) for item in values)
    if graph_input.type not in TYPES:
        raise LiteralError(
            "unknown_type", f"one of {', '.join(TYPES)}", describe_value(graph_input.type)
        )
    kind = "COMBO" if graph_input.choices else TYPES[graph_input.type]
    low = float("-inf") if graph_input.min is None else graph_input.min
    high = float("inf") if graph_input.max is None else graph_input.max
    if low > high:
        raise LiteralError("out_of_range", "a min of at most the max", f"{low:g} to {high:g}")
    ranged = graph_input.min is not None or graph_input.max is not None
    between = Between(low, high) if ranged and kind in ("INT", "FLOAT") else None
    if isinstance(value, Path) and TYPES[graph_input.type] == "STRING":
        value = str(value)
    return coerce(Port(name=name, type=kind, between=between, choices=graph_input.choices), value)
