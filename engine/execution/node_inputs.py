"""The inputs that decide a node's outputs, as planned now and as logged by earlier processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..graph.literal import describe_value
from ..graph.prepared import Prepared


@dataclass(frozen=True, slots=True)
class NodeInputs:
    """A node, its key, and what the key was made of. It holds no outputs, so it may live long.

    Attributes:
        files: content digests by input, and by name of other files that the node reads.
        upstream: keys of the linked nodes, by input.
    """

    node: Prepared
    key: str
    files: Mapping[str, str]
    upstream: Mapping[str, str]

    @property
    def type(self) -> str:
        """The type of the node."""
        return self.node.spec.name

    def value(self, name: str) -> str | None:
        """Return an input as a graph writes it; None if the node has no such input."""
        node = self.node
        if name in node.links:
            source = node.links[name]
            return f"${source.node}.{source.output}"
        if name in node.files:
            return node.files[name].name
        if node.spec.port(name) is None:
            return None
        value: Any = node.literals.get(name)
        return str(value) if isinstance(value, Path) else describe_value(value)


@dataclass(frozen=True, slots=True)
class LoggedInputs:
    """The same, as a `RunLog` holds it.

    Attributes:
        values: the inputs as a graph writes them.
        seconds: duration of the node's last call; None if unknown.
    """

    type: str
    key: str
    files: Mapping[str, str]
    upstream: Mapping[str, str]
    values: Mapping[str, str]
    seconds: float | None = None

    def value(self, name: str) -> str | None:
        """Return an input as a graph writes it; None if the node had no such input."""
        return self.values.get(name)
