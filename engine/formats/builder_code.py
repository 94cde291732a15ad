"""A graph as the Python code that builds it again."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph, GraphInput, InputRef, Link, Node
from ..node.spec import NodeSpec
from .names import free_name
from .native_values import thaw

Specs = Mapping[str, NodeSpec]
OWN_ARGUMENTS = ("id", "title", "self", "type_name")
BUILDER_NAMES = ("add", "graph", "input")
WIDTH = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


def as_python(graph: Graph, specs: Specs) -> str:
    """Return code whose `graph` equals this one; the nodes of parts stand one by one.

    Raises:
        FormatError: the graph has a cycle, or a node that is not installed.
    """
    if graph.cycle() is not None:
        raise FormatError("a graph with a cycle cannot be built")
    names = _names(graph)
    lines = ["import latentloom", "", _call("b = latentloom.build", [_literal(graph.title)])]
    lines += [_input(names[f"input {name}"], name, item) for name, item in graph.inputs.items()]
    late = []
    for layer in graph.generations:
        for id in layer:
            node = graph.nodes[id]
            spec = specs.get(node.type)
            if spec is None:
                raise FormatError(f"node {id}: expected a node that is installed, got {node.type}")
            lines.append(_node(names, id, node, graph, specs))
            for name in OWN_ARGUMENTS:
                if name in node.inputs:
                    value = _value(names, node.inputs[name], graph, specs)
                    late.append(f"graph = graph.set({_literal(f'{id}.{name}')}, {value})")
    lines += ["graph = b.graph", *late]
    if graph.description:
        lines.insert(0, "from dataclasses import replace\n")
        lines.append(f"graph = replace(graph, description={_literal(graph.description)})")
    if graph.sweep:
        lines.append(f"axes = {_literal(thaw(graph.sweep))}  # of its sweep")
    return "\n".join(lines) + "\n"


def _names(graph: Graph) -> dict[str, str]:
    """Return a variable for each node, and for each input of the graph."""
    names: dict[str, str] = {}
    taken = {"b", "graph", "latentloom", "replace"}
    for key in (*(f"input {name}" for name in graph.inputs), *graph.nodes):
        name = _NOT_IN_NAMES.sub("_", key.removeprefix("input ")) or "node"
        name = f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
        names[key] = free_name(name, taken)
        taken.add(names[key])
    return names


def _input(variable: str, name: str, item: GraphInput) -> str:
    arguments = [_literal(name), _literal(item.type), _literal(thaw(item.default))]
    details = {key: getattr(item, key) for key in ("min", "max", "choices", "description")}
    arguments += [
        f"{key}={_literal(value)}" for key, value in details.items() if value not in (None, "")
    ]
    return _call(f"{variable} = b.input", arguments)


def _node(names: Mapping[str, str], id: str, node: Node, graph: Graph, specs: Specs) -> str:
    given = {
        name: _value(names, value, graph, specs)
        for name, value in node.inputs.items()
        if name not in OWN_ARGUMENTS
    }
    plain = {name: value for name, value in given.items() if _is_identifier(name)}
    other = [f"{_literal(name)}: {value}" for name, value in given.items() if name not in plain]
    arguments = [f"{name}={value}" for name, value in plain.items()]
    arguments += [f"**{{{', '.join(other)}}}"] if other else []
    arguments.append(f"id={_literal(id)}")
    arguments += [f"title={_literal(node.title)}"] if node.title else []
    is_method = _is_identifier(node.type) and node.type not in BUILDER_NAMES
    if is_method and not node.type.startswith("_"):
        return _call(f"{names[id]} = b.{node.type}", arguments)
    return _call(f"{names[id]} = b.add", [_literal(node.type), *arguments])


def _value(names: Mapping[str, str], value: Any, graph: Graph, specs: Specs) -> str:
    if isinstance(value, Link):
        spec = specs.get(graph.nodes[value.node].type) if value.node in graph.nodes else None
        index = spec.output_index(value.output) if spec is not None else None
        if spec is None or index is None:
            return f"latentloom.Link({_literal(value.node)}, {_literal(value.output)})"
        name = spec.outputs[index].name
        is_unique = _is_identifier(name) and spec.output_index(name) == index and name != "id"
        return f"{names[value.node]}.{name}" if is_unique else f"{names[value.node]}[{index}]"
    if isinstance(value, InputRef):
        variable = names.get(f"input {value.name}")
        if variable is not None and value.index is None:
            return variable
        index_text = "" if value.index is None else f", {value.index}"
        return f"latentloom.InputRef({_literal(value.name)}{index_text})"
    return _literal(thaw(value))


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _is_identifier(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _call(function: str, arguments: list[str]) -> str:
    """Return a call on one line if it fits, else with an argument a line."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{function}(", *(f"    {argument}," for argument in arguments), ")"])
