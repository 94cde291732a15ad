"""The inputs of a graph: whether each knob's value is of its type and inside its range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import Problem
from ..node.ports import Between
from ..node.spec import Port
from .graph import Graph, Input
from .literal import Refused, coerce, shown

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


def knob_problems(graph: Graph) -> list[Problem]:
    """What is wrong with the inputs of a graph themselves; their use is checked at the nodes."""
    found = []
    for name, knob in graph.inputs.items():
        try:
            read_knob(name, knob, knob.default)
        except Refused as refused:
            facts = (refused.wanted, refused.got, "", refused.hint)
            found.append(Problem(refused.kind, INPUTS, "graph", name, *facts))
    return found


def read_knob(name: str, knob: Input, value: Any) -> Any:
    """The value as the knob takes it.

    Raises:
        Refused: the type is unknown, the value is none of it, or outside the range.
    """
    if knob.type not in TYPES:
        raise Refused("unknown_type", f"a type of: {', '.join(TYPES)}", shown(knob.type))
    kind = "COMBO" if knob.choices else TYPES[knob.type]
    low = float("-inf") if knob.min is None else knob.min
    high = float("inf") if knob.max is None else knob.max
    if low > high:
        raise Refused("out_of_range", "a min that is not above its max", f"{low:g} to {high:g}")
    ranged = knob.min is not None or knob.max is not None
    between = Between(low, high) if ranged and kind in ("INT", "FLOAT") else None
    if isinstance(value, Path) and TYPES[knob.type] == "STRING":
        value = str(value)
    return coerce(Port(name, kind, between=between, choices=knob.choices), value)
