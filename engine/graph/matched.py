"""Types of inputs and outputs that must be one, such as those of a switch."""

from __future__ import annotations

from ..node.ports import ANY, accepts
from ..node.spec import Output, Port
from .prepared import Prepared


class MatchedTypes:
    """Follows matched types through a graph, node by node in topological order."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, node: Prepared, port: Port, given: str) -> bool:
        """Take the type that is linked to a port; return False if it differs from an earlier one.

        A type that is not known before the run differs from none.
        """
        if not port.matched or given == ANY:
            return True
        first, _ = self._types.setdefault((node.id, port.matched), (given, port.name))
        return accepts(first, given) or accepts(given, first)

    def expected(self, node: Prepared, port: Port) -> str:
        """Return the type that other inputs set for a port, and the first of them; else nothing."""
        type, name = self._types.get((node.id, port.matched), ("", ""))
        return f"{type}, as {name} has" if type else ""

    def type_of(self, node: str, output: Output) -> str:
        """Return the type of an output, as the inputs of its node set it."""
        return self._types.get((node, output.matched), (output.type, ""))[0]
