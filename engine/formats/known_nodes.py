"""Core nodes of ComfyUI that need not be installed: names and defaults of their inputs.

`known_nodes.json` holds the declarations of ComfyUI 0.33 and, where these differ, of 0.3.64:
node type -> versions, newest first -> inputs in the order of the editor's fields, and outputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..node.ports import Between
from ..node.spec import MISSING, NodeSpec, Output, Port
from .parsing import MAX_VALUE

DECLARATIONS = Path(__file__).with_name("known_nodes.json")
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
SEEDS = Between(0, MAX_VALUE)
NO_VALUES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class KnownNode(NodeSpec):
    """The declaration of a node that is not installed; it cannot run."""


def known_node(
    type_name: str, values: Sequence[Any] = (), named: Mapping[str, Any] = NO_VALUES
) -> KnownNode | None:
    """Return the declaration of a core node of ComfyUI; None if it is none.

    Args:
        values: the values of its fields in a file; they choose the version whose number of
            fields is theirs, and the inputs that an option adds.
        named: these values by name, for a file that has no list.
    """
    entries = _declarations().get(type_name, ())
    versions = [_declare(type_name, entry, values, named) for entry in entries]
    fitting = (known for known in versions if _field_count(known) == len(values))
    return next(fitting, None) or next(iter(versions), None)


def required_defaults(type_name: str) -> Mapping[str, Any] | None:
    """Return the defaults of the inputs that ComfyUI requires; None for a node it does not have."""
    known = _newest(type_name) if type_name in _declarations() else None
    if known is None:
        return None
    return {
        port.name: port.default
        for port in known.inputs
        if not port.optional and port.default is not MISSING
    }


def is_own_input(type_name: str, port: Port) -> bool:
    """Return whether a node that ComfyUI has too has an input with a default that it lacks there.

    The editor does not know such an input, so that its files do not start it.
    """
    entries = _declarations().get(type_name, ())
    own_name = port.name.partition(".")[0]
    declared = any(own_name == name for entry in entries for name, *_ in entry["inputs"])
    return bool(entries) and not declared and not port.is_required


def has_dynamic_prompt(type_name: str, port: Port) -> bool:
    """Return whether the editor replaces `{a|b}` in a string by one of its alternatives."""
    known = _newest(type_name) if type_name in _declarations() else None
    declared = known.port(port.name) if known is not None else None
    return port.type == "STRING" and (declared or port).multiline


@cache
def _newest(type_name: str) -> KnownNode | None:
    """Return the newest declaration of a node that ComfyUI has, with its default options."""
    return known_node(type_name)


@cache
def _declarations() -> Mapping[str, Any]:
    declarations: Mapping[str, Any] = json.loads(DECLARATIONS.read_text("utf-8"))
    return declarations


def _declare(
    type_name: str, entry: Mapping[str, Any], values: Sequence[Any], named: Mapping[str, Any]
) -> KnownNode:
    outputs = tuple(Output(name, type) for name, type in entry["outputs"])
    return KnownNode(
        name=type_name,
        category="",
        run=_cannot_run,
        inputs=tuple(_ports(entry["inputs"], list(values), named, "")),
        outputs=outputs,
        output_node=entry.get("output_node", False),
    )


def _ports(
    inputs: Sequence[Any], waiting: list[Any], named: Mapping[str, Any], prefix: str
) -> Iterator[Port]:
    """Yield the ports; an option among the values is followed by the inputs that it adds."""
    for name, type, *rest in inputs:
        options: Mapping[str, Any] = rest[0] if rest else {}
        port = _port(f"{prefix}{name}", type, options)
        yield port
        if port.type not in WIDGET_TYPES:
            continue
        value = waiting.pop(0) if waiting else named.get(port.name, port.default)
        if port.seeded and waiting and str(waiting[0]).lower() in _CONTROLS:
            waiting.pop(0)
        added = options.get("options", {}).get(value if isinstance(value, str) else None, ())
        yield from _ports(added, waiting, named, f"{port.name}.")


_CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "true", "false"})


def _port(name: str, type: str, options: Mapping[str, Any]) -> Port:
    is_socket = options.get("socket", False)
    is_other_widget = options.get("widget", False)
    is_seed = options.get("control", False)
    return Port(
        name=name,
        type=f"{type},*" if is_socket else "COMBO" if is_other_widget else type,
        default=options.get("default", MISSING),
        optional=options.get("optional", False),
        between=SEEDS if is_seed else None,
        multiline=options.get("dynamic", False),
        seeded=is_seed,
    )


def _field_count(known: KnownNode) -> int:
    return sum(1 + port.seeded for port in known.inputs if port.type in WIDGET_TYPES)


def _cannot_run(**_: Any) -> None:
    raise NotImplementedError("the node is not installed")
