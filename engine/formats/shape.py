"""Checks parsed files against JSON schemas: the small part of that language that ours use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.literal import describe_value

Shape = dict[str, Any]
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def check_shape(value: Any, shape: Shape, where: str) -> None:
    """Check a value against a schema; it goes as deep as the schema does.

    Args:
        shape: uses type, const, enum, pattern, minimum, required, properties,
            additionalProperties, items and anyOf only.
        where: what the value is, for messages.

    Raises:
        FormatError: the value has another form.
    """
    if "anyOf" in shape:
        _check_any(value, shape["anyOf"], where)
        return
    if "const" in shape and (type(value) is bool or value != shape["const"]):
        raise _error(where, repr(shape["const"]), value)
    if "enum" in shape and value not in shape["enum"]:
        raise _error(where, f"one of {', '.join(shape['enum'])}", value)
    name = shape.get("type")
    if name is not None and not _is_type(value, name):
        raise _error(where, _NAMES[name], value)
    if isinstance(value, str) and "pattern" in shape and not re.search(shape["pattern"], value):
        raise _error(where, shape.get("description", f"a string like {shape['pattern']}"), value)
    if "minimum" in shape and isinstance(value, int | float) and value < shape["minimum"]:
        raise _error(where, f"a number of at least {shape['minimum']}", value)
    if isinstance(value, Mapping):
        _check_mapping(value, shape, where)
    elif isinstance(value, list) and "items" in shape:
        for index, item in enumerate(value):
            check_shape(item, shape["items"], f"{where}, {index}")


_NAMES = {
    "object": "a mapping", "array": "a list", "string": "a string", "integer": "a whole number",
    "number": "a number", "boolean": "true or false", "null": "null",
}  # fmt: skip


def _check_any(value: Any, shapes: list[Shape], where: str) -> None:
    errors = []
    for shape in shapes:
        try:
            check_shape(value, shape, where)
        except FormatError as error:
            errors.append(error)
        else:
            return
    raise errors[0]


def _check_mapping(value: Mapping[Any, Any], shape: Shape, where: str) -> None:
    known: Mapping[str, Shape] = shape.get("properties", {})
    missing = [name for name in shape.get("required", ()) if name not in value]
    if missing:
        raise FormatError(f"{where}: expected `{missing[0]}`, got {', '.join(value) or 'nothing'}")
    others = shape.get("additionalProperties")
    for name, item in value.items():
        inner = known.get(name, others)
        if inner is False:
            raise FormatError(f"{where}: expected one of {', '.join(known)}, got {name!r}")
        if isinstance(inner, dict):
            check_shape(item, inner, f"{where}, {name}")


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def _error(where: str, expected: str, got: Any) -> FormatError:
    return FormatError(f"{where}: expected {expected}, got {describe_value(got)}")
