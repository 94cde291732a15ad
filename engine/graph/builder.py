"""Building a graph in Python: each call of a node records it and returns a handle."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import GraphError, Problem
from ..node.fitting import spread_groups
from ..node.ports import accepts
from ..node.registry import Registry
from ..node.spec import NodeSpec, Port
from .graph import Graph, GraphInput, InputRef, Link, Node, freeze
from .literal import LiteralError, coerce, missing_hint


class NodeOutput:
    """An output of a recorded node; pass it to an input of another node."""

    def __init__(self, node: str, name: str, type_name: str) -> None:
        self.node, self.name, self.type = node, name, type_name

    def __repr__(self) -> str:
        return f"${self.node}.{self.name}"


class NodeHandle:
    """A recorded node: its outputs by name, by index, or unpacked in order."""

    def __init__(self, id: str, spec: NodeSpec) -> None:
        self.id = id
        self._outputs = {
            output.name: NodeOutput(id, output.name, output.type) for output in spec.outputs
        }

    def __getattr__(self, name: str) -> NodeOutput:
        try:
            return self._outputs[name]
        except KeyError:
            listed = ", ".join(self._outputs) or "no outputs"
            raise AttributeError(f"{self.id} has {listed}, not {name}") from None

    def __getitem__(self, index: int) -> NodeOutput:
        return tuple(self._outputs.values())[index]

    def __iter__(self) -> Iterator[NodeOutput]:
        return iter(self._outputs.values())

    def __repr__(self) -> str:
        return f"<{self.id}: {', '.join(self._outputs)}>"


class Builder:
    """Records nodes as they are called; `graph` has those recorded so far.

    Each node type of the registry is a method that takes its inputs by name, and optionally `id`
    and `title`. Inputs are checked immediately. An input that grows takes a list.

    >>> from engine.node.registry import Registry
    >>> from engine.node.spec import node
    >>> @node("Double", category="doc")
    ... def double(value: int) -> int:
    ...     return 2 * value
    >>> builder = Builder(Registry.of(double))
    >>> (four,) = builder.Double(value=2)
    >>> builder.Double(value=four)
    <double_2: INT>
    >>> builder.graph.nodes["double_2"].inputs["value"]
    Link(node='double', output='INT')
    """

    def __init__(self, registry: Registry, title: str = "") -> None:
        self._registry, self._title = registry, title
        self._nodes: dict[str, Node] = {}
        self._inputs: dict[str, GraphInput] = {}
        self._counts: dict[str, int] = {}
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The graph with all nodes recorded so far."""
        if self._graph is None:
            self._graph = Graph(self._nodes, self._inputs, self._title)
        return self._graph

    def input(self, name: str, type: str, default: Any, **details: Any) -> InputRef:
        """Add an input to the graph, such as `input("denoise", "float", 0.5, min=0, max=1)`."""
        self._inputs[name] = GraphInput(type, default, **details)
        self._graph = None
        return InputRef(name)

    def __getattr__(self, type_name: str) -> Callable[..., NodeHandle]:
        if type_name.startswith("_"):
            raise AttributeError(type_name)

        def call(*values: Any, id: str = "", title: str = "", **inputs: Any) -> NodeHandle:
            if values:
                raise TypeError(f"{type_name} takes its inputs by name, got {values[0]!r}")
            return self.add(type_name, id, title, **inputs)

        return call

    def add(self, type_name: str, id: str = "", title: str = "", **inputs: Any) -> NodeHandle:
        """Record a node.

        Raises:
            GraphError: the type is unknown, the id is taken, or inputs are wrong or missing; it
                lists all problems.
        """
        spec = self._registry.get(type_name)
        id = id or self._free_id(type_name)
        if spec is None:
            near = self._registry.near(type_name)
            raise GraphError([Problem.unknown_node(type_name, near, node=id)])
        inputs = spread_groups(spec.inputs, inputs)
        spec = spec.fitted(inputs)
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        if id in self._nodes:
            problems.append(
                Problem(
                    kind="id_taken",
                    node=id,
                    type=type_name,
                    expected="an unused id",
                    got=f"{id}, the id of a {self._nodes[id].type}",
                )
            )
        for name, value in inputs.items():
            port = spec.port(name)
            if port is None:
                names = [port.name for port in spec.inputs]
                problems.append(
                    Problem.unknown_input(
                        name,
                        names,
                        node=id,
                        type_name=type_name,
                        current_name=spec.current_name(name),
                    )
                )
                continue
            try:
                values[name] = _read_value(port, value)
            except LiteralError as error:
                problems.append(error.problem(id, type_name, name))
        problems += [
            Problem.missing_input(
                port.name, port.type, node=id, type_name=type_name, hint=missing_hint(port)
            )
            for port in spec.inputs
            if port.is_required and port.name not in inputs
        ]
        if problems:
            raise GraphError(problems)
        self._nodes[id] = Node(type_name, values, title)
        self._graph = None
        return NodeHandle(id, spec)

    def _free_id(self, type_name: str) -> str:
        base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type_name).lower()
        count = self._counts.get(base, 1)
        while (id := base if count == 1 else f"{base}_{count}") in self._nodes:
            count += 1
        self._counts[base] = count
        return id


def _read_value(port: Port, value: Any) -> Any:
    if isinstance(value, NodeHandle):
        outputs = list(value)
        if len(outputs) != 1:
            raise LiteralError("wrong_type", f"one output of {value.id}", f"all of {value!r}")
        value = outputs[0]
    if isinstance(value, NodeOutput):
        if not accepts(port.type, value.type):
            raise LiteralError("wrong_type", port.type, f"{value.type} ({value!r})")
        return Link(value.node, value.name)
    if isinstance(value, InputRef | Link):
        return value
    coerce(port, freeze(value))
    return value
