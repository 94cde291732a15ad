"""Values of other nodes in the name of a file, such as `%LoadImage.image%`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from ..graph.graph import Node

PREFIX = "filename_prefix"
_TOKEN = re.compile(r"%([^%.]{1,200})\.([^%.]{1,200})%")
_UNUSABLE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def fill_tokens(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Return the nodes with `%node.input%` in names of files replaced, as the editor does.

    The node is named by its type, else by its title. What is not found stays as it is.
    """
    by_name: dict[str, Node] = {}
    for name in ("type", "title"):
        for node in nodes.values():
            by_name.setdefault(getattr(node, name), node)

    def value_of(token: re.Match[str]) -> str:
        node = by_name.get(token[1])
        value = node.inputs.get(token[2]) if node is not None else None
        is_shown = isinstance(value, str | int | float)
        return _UNUSABLE.sub("_", _shown(value)) if is_shown else token[0]

    def fill(node: Node) -> Node:
        prefix = node.inputs.get(PREFIX)
        if not isinstance(prefix, str) or "%" not in prefix:
            return node
        return replace(node, inputs={**node.inputs, PREFIX: _TOKEN.sub(value_of, prefix)})

    return {id: fill(node) for id, node in nodes.items()}


def _shown(value: object) -> str:
    """Return a value as JavaScript writes it, in which the editor runs: 2.0 is `2`."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(repr(value)).normalize():f}"
    return re.sub(r"(e[+-])0+", r"\1", repr(value).replace(".0e", "e"))
