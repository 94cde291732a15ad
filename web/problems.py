"""Problems of a graph in the shape that ComfyUI's editor reads to outline nodes and inputs.

Errors are grouped by node, each with a type, a message, details and the input's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from latentloom.engine.errors import Problem
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.spec import NodeSpec, Port

from .object_info import input_config
from .redact import without_folders

TYPES = {
    "missing_input": ("required_input_missing", "Required input is missing"),
    "dangling_link": ("exception_during_validation", "The link's node or output does not exist"),
    "linked_file": ("custom_validation_failed", "A file must be named, not linked"),
    "unknown_input": ("custom_validation_failed", "The input does not exist"),
    "out_of_range": ("value_bigger_than_max", "Value is out of range"),
    "not_in_list": ("value_not_in_list", "Value not in list"),
    "file": ("custom_validation_failed", "The file cannot be used"),
    "bad_input": ("custom_validation_failed", "The value cannot be used"),
    "wrong_family": ("return_type_mismatch", "Return type mismatch between linked nodes"),
    "cycle": ("dependency_cycle", "The graph has a cycle"),
}
SMALL = ("value_smaller_than_min", "Value is smaller than the minimum")
LITERAL = ("invalid_input_type", "The value has the wrong type")
LINKED = ("return_type_mismatch", "Return type mismatch between linked nodes")
MAX_SHOWN = 20
MAX_CYCLE_NODES = 100
MAX_NODES_WITH_ERRORS = 1000


def node_errors(
    problems: Iterable[Problem],
    graph: Graph,
    registry: Mapping[str, NodeSpec],
    outputs: Sequence[str],
) -> dict[str, Any]:
    """Return the errors by node id, with the output nodes that they stop.

    The answer grows with the number of problems only: a cycle is reported at MAX_CYCLE_NODES of
    its nodes, each list of nodes names MAX_SHOWN, and MAX_NODES_WITH_ERRORS nodes have errors.

    Args:
        outputs: the requested output nodes.
    """
    errors_by_node: dict[str, Any] = {}
    cycle = graph.cycle() if graph.nodes else None
    for problem in problems:
        in_cycle = cycle[:MAX_CYCLE_NODES] if problem.kind == "cycle" and cycle else None
        ids = in_cycle or [problem.node]
        for id in ids:
            if id not in errors_by_node and len(errors_by_node) >= MAX_NODES_WITH_ERRORS:
                continue
            entry = errors_by_node.setdefault(
                id,
                {
                    "errors": [],
                    "dependent_outputs": [],
                    "class_type": graph.nodes[id].type if id in graph.nodes else problem.type,
                },
            )
            entry["errors"].append(_error(problem, id, graph, registry, cycle))
    if errors_by_node:
        dependents = _dependent_outputs(graph, outputs)
        for id, entry in errors_by_node.items():
            entry["dependent_outputs"] = dependents.get(id, [])
    return errors_by_node


def _dependent_outputs(graph: Graph, outputs: Iterable[str]) -> dict[str, list[str]]:
    """Return the first MAX_SHOWN outputs that depend on each node.

    Where a node has that many, so has everything upstream, and no node is visited more often.
    """
    dependents: dict[str, list[str]] = {id: [] for id in graph.nodes}
    predecessors: Callable[[str], Iterable[str]] = graph.network.predecessors
    for output in outputs:
        waiting = [output] if output in dependents else []
        while waiting:
            id = waiting.pop()
            known = dependents[id]
            if len(known) < MAX_SHOWN and known[-1:] != [output]:
                known.append(output)
                waiting.extend(predecessors(id))
    return dependents


def prompt_error(
    type_name: str, message: str, details: str = "", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return an error of the whole prompt."""
    return {
        "type": type_name, "message": message, "details": details, "extra_info": dict(extra or {}),
    }  # fmt: skip


def missing_type(problem: Problem, graph: Graph) -> dict[str, Any]:
    """Return the error for a node type that is not installed."""
    title = graph.nodes[problem.node].title or problem.got
    extra = {"node_id": problem.node, "class_type": problem.got, "node_title": title}
    message = f"Node {title!r} not found: {problem.got} is not installed"
    details = f"Node ID '#{problem.node}'; {problem.hint}"
    return prompt_error("missing_node_type", message, details, extra)


def summary(errors: Mapping[str, Any]) -> str:
    """Return one line for each error."""
    return "\n".join(
        f"{id}: {error['message']}: {error['details']}"
        for id, entry in errors.items()
        for error in entry["errors"]
    )


def _error(
    problem: Problem,
    id: str,
    graph: Graph,
    registry: Mapping[str, NodeSpec],
    cycle: list[str] | None,
) -> dict[str, Any]:
    spec = registry.get(graph.nodes[id].type) if id in graph.nodes else None
    port = spec.fitted(graph.nodes[id].inputs).port(problem.port) if spec is not None else None
    value = graph.nodes[id].inputs.get(problem.port) if id in graph.nodes else None
    type_name, message = _type(problem, port, value)
    extra: dict[str, Any] = {}
    if problem.port:
        extra["input_name"] = problem.port
    if port is not None:
        extra["input_config"] = _config(port)
    if value is not None and type_name != "return_type_mismatch":
        extra["received_value"] = _plain(value)
    if problem.kind == "cycle":
        extra |= {"node_id": id, "cycle_nodes": (cycle or [])[:MAX_SHOWN]}
    if type_name == "return_type_mismatch":
        extra |= {"received_type": problem.got, "linked_node": _plain(value)}
    return {
        "type": type_name, "message": message,
        "details": _details(problem, type_name), "extra_info": extra,
    }  # fmt: skip


def _type(problem: Problem, port: Port | None, value: Any) -> tuple[str, str]:
    linked = hasattr(value, "output")
    if problem.kind == "wrong_type":
        return LINKED if linked else LITERAL
    if problem.kind == "wrong_family" and not linked:
        return TYPES["bad_input"]
    if problem.kind == "out_of_range" and port is not None and port.between is not None:
        number = value if isinstance(value, int | float) else 0
        return SMALL if number < port.between.low else TYPES["out_of_range"]
    return TYPES.get(problem.kind, TYPES["bad_input"])


def _details(problem: Problem, type_name: str) -> str:
    if type_name == "required_input_missing":
        return problem.port
    if type_name == "return_type_mismatch" and problem.kind == "wrong_type":
        expected = problem.expected.split(" ")[0]
        return f"{problem.port}, received_type({problem.got}) mismatch input_type({expected})"
    text = f"expected {problem.expected}, got {problem.got}"
    hint = f"; {without_folders(problem.hint)}" if problem.hint else ""
    return f"{problem.port} - {text}{hint}" if problem.port else f"{text}{hint}"


def _config(port: Port) -> list[Any] | None:
    config = input_config(port, lambda: ())
    long = isinstance(config[0], list) and len(config[0]) > MAX_SHOWN
    return None if long else config


def _plain(value: Any) -> Any:
    """Return a value as JSON, cut to the length that a message needs."""
    if hasattr(value, "output"):
        return [value.node, value.output]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return value[:200] if isinstance(value, str) else str(value)[:200]
