"""Nodes of an editor's file that nothing declares: their values by name or position, as they are.

The file itself may name the values: by `widgets_values_named`, by a mapping, or by the sockets of
the widgets. Else they stay a list under `POSITIONAL` in `Node.extra`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph.graph import CORE_PACK, PACK, POSITIONAL
from ..graph.records import NODE_VERSION
from ..node.spec import NodeSpec
from .comfy_values import CONTROLS, EDITOR_WIDGETS
from .known_nodes import known_node

SEED_NAMES = ("seed", "noise_seed")
MAX_PACK_CHARS = 120
VERSION_PROPERTY = "latentloom_version"
"""The property of a node in files of ComfyUI that has the version of its type."""


def placeholder_values(
    node: Mapping[str, Any], outer: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of a node by name, and those without a name for `Node.extra`.

    Args:
        outer: values that a subgraph around the node gives to its widgets.
    """
    listed, named = node.get("widgets_values"), node.get("widgets_values_named")
    listed = outer.get(POSITIONAL, listed)
    by_name = dict(named) if isinstance(named, Mapping) else {}
    extra: dict[str, Any] = {}
    if isinstance(listed, Mapping):
        by_name |= listed
    elif isinstance(listed, list) and listed:
        if len(by_name) == len(listed):
            by_name = dict(zip(by_name, listed, strict=True))
        elif (by_socket := _by_socket(node, listed)) is not None:
            by_name |= by_socket
        elif not by_name:
            extra[POSITIONAL] = tuple(listed)
    by_name |= {name: value for name, value in outer.items() if name != POSITIONAL}
    values = {str(name): value for name, value in by_name.items() if name not in EDITOR_WIDGETS}
    return values, extra


def pack_of(type_name: str, properties: Any, specs: Mapping[str, NodeSpec]) -> dict[str, str]:
    """Return the pack of a node that is not installed, for `Node.extra`, as far as it is known.

    Args:
        properties: those of the node in a file of the editor, or `_meta` in a prompt.
    """
    if not specs or type_name in specs:
        return {}
    held = properties if isinstance(properties, Mapping) else {}
    names = [held.get(key) for key in ("cnr_id", "aux_id")]
    name = next((name for name in names if isinstance(name, str) and name), None)
    if name is None:
        return {PACK: CORE_PACK} if known_node(type_name) is not None else {}
    version = held.get("ver")
    is_shown = name != CORE_PACK and isinstance(version, str) and version
    shown = f"{name} {version}" if is_shown else name
    return {PACK: shown[:MAX_PACK_CHARS]}


def version_of(properties: Any) -> dict[str, int]:
    """Return the version of its type that a node is written for, for `Node.extra`.

    Args:
        properties: as in `pack_of`.
    """
    held = properties.get(VERSION_PROPERTY) if isinstance(properties, Mapping) else None
    if isinstance(held, bool) or not isinstance(held, int) or held <= 0:
        return {}
    return {NODE_VERSION: held}


def _by_socket(node: Mapping[str, Any], values: Sequence[Any]) -> dict[str, Any] | None:
    """Return a list of values by the names of the widgets' sockets; None if they do not match."""
    held = node.get("inputs")
    sockets = [socket for socket in held if _is_widget(socket)] if isinstance(held, list) else []
    by_name: dict[str, Any] = {}
    waiting = list(values)
    for socket in sockets:
        if not waiting:
            return None
        name = str(socket.get("name"))
        by_name[name] = waiting.pop(0)
        if name in SEED_NAMES and waiting and str(waiting[0]) in CONTROLS:
            waiting.pop(0)
    return by_name if sockets and not waiting else None


def _is_widget(socket: Any) -> bool:
    return isinstance(socket, Mapping) and isinstance(socket.get("widget"), Mapping)
