"""Nodes that only a lazy input may ask for: whether a run needs them shows when it runs.

What such a node lacks, a file or its type, concerns nobody until then. A stand-in takes its place
in the plan, and fails with the problem if it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from ..errors import InputError, LatentloomError, Problem, UnexpectedValueError
from ..node.spec import NodeSpec
from .graph import Graph, InputRef, Link, Node
from .literal import LiteralError, coerce
from .prepared import Prepared


def certainly_needed(
    graph: Graph, specs: Mapping[str, NodeSpec], targets: Iterable[str]
) -> frozenset[str]:
    """Return the ids of the targets and of all that they need whatever their inputs turn out to be.

    A lazy link counts if the literals of its node suffice to say that it is asked for.
    """
    visited = {id for id in targets if id in graph.nodes}
    waiting = list(visited)
    while waiting:
        node = graph.nodes[waiting.pop()]
        unasked = _unasked_inputs(node, specs.get(node.type))
        origins = {link.node for name, link in node.links() if name not in unasked}
        fresh = (origins & graph.nodes.keys()) - visited
        visited |= fresh
        waiting.extend(fresh)
    return frozenset(visited)


def stand_in(id: str, type_name: str, problems: Sequence[Problem], prepared: Prepared) -> Prepared:
    """Return the node with a function that raises the first problem.

    Args:
        prepared: the node as far as it could be read.
    """
    problem = problems[0]
    error = (
        InputError(problem.port, problem.expected, problem.got, problem.hint)
        if problem.port
        else UnexpectedValueError(problem.expected, problem.got, problem.hint)
    )
    spec = NodeSpec(type_name, "", _raiser(error), prepared.spec.inputs, prepared.spec.outputs)
    return replace(prepared, id=id, spec=spec)


def undeclared(id: str, type_name: str) -> Prepared:
    """Return a node of a type that is not installed, without inputs and outputs."""
    return Prepared(id, NodeSpec(type_name, "", _raiser(UnexpectedValueError("", "")), (), ()))


def _raiser(error: LatentloomError) -> Callable[..., NoReturn]:
    def fail(**_: Any) -> NoReturn:
        raise error

    return fail


def _unasked_inputs(node: Node, spec: NodeSpec | None) -> frozenset[str]:
    """Return the lazy inputs of a node that it does not ask for, as far as its literals say."""
    needs = spec.needs if spec is not None else None
    if spec is None or needs is None:
        return frozenset()
    spec = spec.fitted(node.inputs)
    lazy = frozenset(port.name for port in spec.inputs if port.lazy)
    values: dict[str, Any] = {}
    for port in spec.inputs:
        value = node.inputs.get(port.name, port.default)
        if port.lazy:
            values[port.name] = None
        elif isinstance(value, Link | InputRef):
            return lazy
        else:
            try:
                values[port.name] = coerce(port, value)
            except LiteralError:
                return lazy
    return lazy - set(needs(**spec.nested(values)))
