"""Running the targets of a graph that can run although others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import GraphError, Problem
from ..node.registry import Registry
from .graph import Graph
from .prepared import Files
from .validate import prepare

R = TypeVar("R")


def run_sound(
    graph: Graph,
    registry: Registry,
    files: Files,
    targets: Sequence[str] | None,
    action: Callable[[Graph, Sequence[str] | None], R],
) -> tuple[R, tuple[Problem, ...]]:
    """Run or plan the targets that can run; return the result, and the problems of the others.

    Args:
        targets: ids of nodes; by default every output node.
        action: runs or plans a graph for targets; raises GraphError before it does anything.

    Raises:
        GraphError: no target can run, or a problem concerns the whole graph.
    """
    try:
        return action(graph, targets), ()
    except GraphError as error:
        problems = error.problems
    chosen = prepare(graph, registry, files, targets).targets
    is_whole = any(
        problem.node not in graph.nodes for problem in problems if problem.kind != "cycle"
    )
    blocked = blocked_nodes(problems, graph)
    sound = tuple(id for id in chosen if id not in blocked)
    if is_whole or not sound:
        raise GraphError(problems)
    if any(problem.kind == "cycle" for problem in problems):
        graph = graph.remove(*blocked)
    return action(graph, sound), problems


def blocked_nodes(problems: Iterable[Problem], graph: Graph) -> frozenset[str]:
    """Return the nodes that cannot run: those with a problem and everything downstream."""
    waiting = [problem.node for problem in problems if problem.node in graph.nodes]
    waiting += (graph.cycle() or []) if any(problem.kind == "cycle" for problem in problems) else []
    blocked = set(waiting)
    successors: Callable[[str], Iterable[str]] = graph.network.successors
    while waiting:
        fresh = set(successors(waiting.pop())) - blocked
        blocked |= fresh
        waiting.extend(fresh)
    return frozenset(blocked)
