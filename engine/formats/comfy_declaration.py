"""The declaration of a node in an editor's file, with the inputs that it has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..node.spec import NodeSpec
from .comfy_values import values_by_position
from .known_nodes import known_node

MAX_CHOICES = 8


def declaration_of(node: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> NodeSpec | None:
    """Return the declaration of an editor's node that is installed, or that ComfyUI has."""
    values = node.get("widgets_values")
    listed = values if isinstance(values, list) else []
    spec = specs.get(node["type"])
    return known_node(node["type"], listed) if spec is None else _fitted(spec, node, listed)


def _fitted(spec: NodeSpec, node: Mapping[str, Any], listed: list[Any]) -> NodeSpec:
    """Return a declaration with the inputs that sockets, and choices among the values, add.

    The values of a choice's inputs follow it, so that each choice shifts those after it.
    """
    sockets = node.get("inputs")
    given: dict[str, Any] = {
        str(socket.get("name")): None
        for socket in (sockets if isinstance(sockets, list) else ())
        if isinstance(socket, Mapping)
    }
    for values in (node.get("widgets_values"), node.get("widgets_values_named")):
        given |= values if isinstance(values, Mapping) else {}
    fitted = spec.fitted(given)
    for _ in range(MAX_CHOICES if fitted is not spec else 0):
        previous, fitted = fitted, fitted.fitted({**given, **values_by_position(fitted, listed)})
        if fitted.inputs == previous.inputs:
            break
    return fitted
