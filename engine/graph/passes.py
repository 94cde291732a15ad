"""Changing the number of passes of a graph whose nodes stand one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import GraphError, Problem
from .parts import MAX_PASSES, Body, Part, PartUse, Passes, pass_name, use_ids, value_of_pass
from .records import Link, Node


def resize(body: Body, name: str, part: Part, count: int) -> Body:
    """Return the nodes with another number of passes; links to the last one stay with the last.

    A new pass is as the one before it, with its own values of what the passes go over.

    Raises:
        GraphError: there is no value for a pass, no pass left, or a link to one that goes.
    """
    passes = body.passes[name]
    if not 1 <= count <= MAX_PASSES:
        expected = f"1 to {MAX_PASSES} values"
        raise GraphError([_problem(name, "over", expected, str(count))])
    if not all(id in body.nodes for use in passes.uses for id in body.uses[use].nodes.values()):
        raise GraphError([_problem(name, "over", "passes with all their nodes", "fewer nodes")])
    for index in range(len(passes.uses), count):
        body = _add_pass(body, name, part, index)
    return _remove_passes(body, name, count) if count < len(passes.uses) else body


def _add_pass(body: Body, name: str, part: Part, index: int) -> Body:
    passes, last = body.passes[name], body.uses[body.passes[name].uses[-1]]
    use_name = pass_name(name, index)
    ids = use_ids(use_name, last.nodes)
    if use_name in body.uses or body.nodes.keys() & set(ids.values()):
        raise GraphError([_problem(name, "over", "a free name for each pass", use_name)])
    renamed = {last.nodes[inner]: id for inner, id in ids.items()}
    given = _own_values(name, passes, part, last, index)
    nodes: dict[str, Node] = {}
    for id, node in body.nodes.items():
        nodes[id] = node if id in renamed else _relinked(node, renamed)
        if id == tuple(renamed)[-1]:
            for inner, old in last.nodes.items():
                copy = _relinked(body.nodes[old], renamed)
                own = {port: value for (at, port), value in given.items() if at == inner}
                nodes[ids[inner]] = replace(copy, inputs={**copy.inputs, **own})
    changed = replace(passes, uses=(*passes.uses, use_name))
    return Body(
        nodes=nodes,
        uses={**body.uses, use_name: replace(last, nodes=ids)},
        passes={**body.passes, name: changed},
    )


def _own_values(
    name: str, passes: Passes, part: Part, last: PartUse, index: int
) -> dict[tuple[str, str], Any]:
    """Return the values of a new pass, by node and input inside the part."""
    values: dict[str, Any] = {}
    for port, series in passes.over.items():
        try:
            values[port] = value_of_pass(series, index)
        except IndexError:
            length = len(series) if isinstance(series, tuple) else 0
            hint = f"{port}: {{from: 1}} counts on for any number of passes"
            problem = _problem(name, port, f"{index + 1} values or more", str(length), hint)
            raise GraphError([problem]) from None
    for port in passes.carry:
        origin = part.outputs[port]
        if isinstance(origin, Link):
            values[port] = Link(last.nodes[origin.node], origin.output)
    return {
        (inner, port): value for at, value in values.items() for inner, port in part.ports_of(at)
    }


def _remove_passes(body: Body, name: str, count: int) -> Body:
    passes = body.passes[name]
    dropped, last = passes.uses[count:], body.uses[passes.uses[count - 1]]
    renamed = {
        id: last.nodes[inner] for use in dropped for inner, id in body.uses[use].nodes.items()
    }
    _check_unused(body, name, dropped[:-1])
    return Body(
        nodes={id: _relinked(n, renamed) for id, n in body.nodes.items() if id not in renamed},
        uses={id: use for id, use in body.uses.items() if id not in dropped},
        passes={**body.passes, name: replace(passes, uses=passes.uses[:count])},
    )


def _check_unused(body: Body, name: str, dropped: tuple[str, ...]) -> None:
    """Check that no node but those of passes has a link to these passes."""
    owners = {id: use for use in dropped for id in body.uses[use].nodes.values()}
    inside = {id for use in body.passes[name].uses for id in body.uses[use].nodes.values()}
    for id, node in body.nodes.items():
        for port, link in node.links() if owners and id not in inside else ():
            if link.node in owners:
                expected, hint = (
                    f"{owners[link.node]} among the passes",
                    f"link to ${name}, the last",
                )
                raise GraphError([_problem(id, port, expected, "fewer passes", hint, node.type)])


def _relinked(node: Node, renamed: Mapping[str, str]) -> Node:
    """Return a node with its links to some nodes leading to others."""
    changed = {
        name: Link(renamed[link.node], link.output)
        for name, link in node.links()
        if link.node in renamed
    }
    return replace(node, inputs={**node.inputs, **changed}) if changed else node


def _problem(
    name: str, port: str, expected: str, got: str, hint: str = "", type: str = "passes"
) -> Problem:
    return Problem(
        kind="passes", node=name, type=type, port=port, expected=expected, got=got, hint=hint
    )
