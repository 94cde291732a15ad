"""JSON schema of native files: editors complete node types, inputs, options and ranges with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph.axes import RANGE_KEYS
from ..graph.migrations import versioned
from ..node.fitting import every_port
from ..node.ports import ANY
from ..node.spec import NodeSpec, Port
from .comfy_values import is_widget
from .native_inputs import INPUT_KEYS
from .native_values import thaw
from .parsing import VERSION

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_OPTIONS = 200
LINK = {"type": "string", "pattern": r"^\$[^$]", "description": "$node.OUTPUT, or ${input}"}
_TYPES = {"INT": "integer", "FLOAT": "number", "BOOLEAN": "boolean", "STRING": "string"}
GRAPH_INPUT_TYPES = ("int", "float", "string", "boolean", "image", "mask", "file")
Schema = dict[str, Any]


def native_schema(specs: Mapping[str, NodeSpec]) -> Schema:
    """Return the schema of native files with these nodes; types that it does not know are allowed.

    Args:
        specs: the installed nodes.
    """
    nodes = {"type": "object", "additionalProperties": {"$ref": "#/$defs/entry"}}
    anything: Schema = {}
    inputs = {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": dict.fromkeys(INPUT_KEYS, anything)
            | {"type": {"enum": list(GRAPH_INPUT_TYPES)}},
        },
    }
    return {
        "$schema": DRAFT,
        "title": "A graph of Latentloom",
        "type": "object",
        "required": ["latentloom"],
        "additionalProperties": False,
        "properties": {
            "latentloom": {"const": VERSION},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "inputs": inputs,
            "parts": {"type": "object", "additionalProperties": {"$ref": "#/$defs/part"}},
            "nodes": nodes,
            "sweep": _sweep(),
            "expect": _expect(),
            "layout": {"type": "object"},
        },
        "$defs": {
            "entry": _entry(specs),
            "part": _part(nodes),
            **{f"node {name}": _node(spec) for name, spec in sorted(specs.items())},
        },
    }


def _sweep() -> Schema:
    """Return the schema of the axes of a sweep."""
    numbers: Schema = {
        "type": "object",
        "required": ["from", "to"],
        "additionalProperties": False,
        "properties": {key: {"type": "number"} for key in RANGE_KEYS},
    }
    values = {"anyOf": [{"type": "array", "minItems": 1}, numbers]}
    over = {"type": "object", "additionalProperties": values}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "over": over,
            "replace": {"type": "object", "additionalProperties": over},
            "zip": {"type": "boolean"},
            "best": {"type": "string"},
        },
    }


def _expect() -> Schema:
    """Return the schema of expectations, by node, output and field."""
    plain: Schema = {"type": ["string", "number", "boolean", "null"]}
    number: Schema = {"type": "number"}
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    entry: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "like": {"anyOf": [{"type": "string"}, names]},
            "within": number | {"minimum": 0},
            "is": plain,
            "min": number,
            "max": number,
        },
    }
    return {"type": "object", "additionalProperties": {"anyOf": [plain, entry]}}


def _entry(specs: Mapping[str, NodeSpec]) -> Schema:
    """Return the schema of a node, or of a use of a part."""
    known = sorted(specs)
    choices = [
        {
            "if": {"properties": {"node": {"enum": _written(specs[name])}}, "required": ["node"]},
            "then": {"$ref": f"#/$defs/node {name}"},
        }
        for name in known
    ]
    listed = [versioned(name, specs[name].version) for name in known]
    keys = {
        "node": {"anyOf": [{"enum": listed}, {"type": "string"}]},
        "part": {"type": "string"},
        "repeat": {"type": "string"},
    }
    one_of = [{"required": [key], "properties": {key: {"type": "string"}}} for key in keys]
    return {"type": "object", "properties": keys, "anyOf": one_of, "allOf": choices}


def _written(spec: NodeSpec) -> list[str]:
    """Return a type as files have it: with each of its versions, the present one first."""
    return [versioned(spec.name, version) for version in range(spec.version, 0, -1)]


def _part(nodes: Schema) -> Schema:
    declared = {
        "required": ["nodes"],
        "properties": {
            "description": {"type": "string"},
            "inputs": {"type": "object"},
            "nodes": nodes,
            "outputs": {"type": "object"},
        },
    }
    imported = {"required": ["import"], "properties": {"import": {"type": "string"}, "part": {}}}
    return {"type": "object", "anyOf": [declared, imported]}


def _node(spec: NodeSpec) -> Schema:
    """Return the schema of a node of one type."""
    ports: dict[str, Schema] = {}
    for port in every_port(spec.inputs):
        own = _port(port)
        known = ports.get(port.name, own)
        ports[port.name] = own if known == own else {"anyOf": [known, own]}
    former = {name: ports[port.name] for port in spec.inputs for name in port.former}
    other = {
        "node": {"enum": _written(spec)},
        "title": {"type": "string"},
        "inputs": {"type": "object"},
    }
    schema: Schema = {
        "description": spec.doc.partition("\n\n")[0],
        "properties": {**ports, **former, **other},
        "additionalProperties": False,
    }
    needed = spec.fitted({}).inputs
    required = [
        p.name for p in needed if p.is_required and p.name not in other and "." not in p.name
    ]
    return schema | ({"required": required} if required and not former else {})


def _port(port: Port) -> Schema:
    details: Schema = {"description": port.tooltip} if port.tooltip else {}
    if not port.is_required and port.default is not None:
        details["default"] = thaw(port.default)
    if port.plain:
        return details
    if not is_widget(port):
        return details if port.type == ANY else {**LINK, **details}
    literal: Schema = {"type": _TYPES.get(port.type, "string")}
    if port.between is not None:
        literal |= {"minimum": port.between.low, "maximum": port.between.high}
    options = port.options()
    if options is not None and port.file is None and len(options) <= MAX_OPTIONS:
        literal["enum"] = list(options)
    choices = [literal, LINK] + ([{"type": "null"}] if port.optional else [])
    return {"anyOf": choices, **details}
