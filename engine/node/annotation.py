"""Reading a type annotation of a node's function: the type of an input or output, and its markers.

For example `Annotated[float, Between(0.0, 1.0)]` or `Annotated[Any, Socket("IMAGE")] | None`.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from ..errors import SpecError
from .declaration import MISSING, Branch, Port
from .docstring import read_tooltips
from .ports import (
    Between,
    Branches,
    Choices,
    File,
    Formerly,
    Growing,
    Lazy,
    Matched,
    Plain,
    Seeded,
    Socket,
    Text,
)

PRIMITIVES = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}
M = TypeVar("M")


def read_input(subject: str, annotation: Any) -> dict[str, Any]:
    """Return the fields of a Port that its annotation declares.

    Args:
        subject: names the input in errors.

    Raises:
        SpecError: it is not the type of an input.
    """
    base, markers = _unwrap(annotation)
    branches = find_marker(Branches, markers)
    if branches is not None:
        return {
            "type": "COMBO",
            "choices": tuple(branches.classes),
            "branches": _read_branches(subject, branches.classes),
        }
    growing = find_marker(Growing, markers)
    if growing is not None:
        if get_origin(base) is not dict:
            raise SpecError(f"{subject}: a growing input must be a dict[str, X]")
        return {**read_input(subject, get_args(base)[1]), "growing": growing}
    optional = get_origin(base) in (types.UnionType, typing.Union)
    if optional:
        members = [member for member in get_args(base) if member is not type(None)]
        if len(members) != 1:
            raise SpecError(f"{subject}: a union may only be `X | None`")
        base, inner_markers = _unwrap(members[0])
        markers = (*markers, *inner_markers)
    many, base, item_markers = unwrap_list(base)
    markers = (*markers, *item_markers)
    text = find_marker(Text, markers) or Text()
    return {
        "optional": optional,
        "many": many,
        "lazy": find_marker(Lazy, markers) is not None,
        "multiline": text.multiline,
        "mentions": text.mentions,
        "seeded": find_marker(Seeded, markers) is not None,
        "former": tuple(marker.name for marker in markers if isinstance(marker, Formerly)),
        **_type_fields(subject, base, markers),
    }


def unwrap_list(annotation: Any) -> tuple[bool, Any, tuple[Any, ...]]:
    """Return whether it is `list[X]`, and the base type and markers of X."""
    many = get_origin(annotation) is list
    return many, *_unwrap(get_args(annotation)[0] if many else annotation)


def find_marker(kind: type[M], markers: Iterable[object]) -> M | None:
    """Return the first marker of a class, None if there is none."""
    return next((marker for marker in markers if isinstance(marker, kind)), None)


def read_fields(subject: str, make: type[Any]) -> tuple[Port, ...]:
    """Return the inputs that the fields of a NamedTuple declare.

    Raises:
        SpecError: a field is not an input.
    """
    scope, tips = vars(sys.modules[make.__module__]), read_tooltips(inspect.getdoc(make) or "")
    defaults: Mapping[str, Any] = make._field_defaults
    ports = []
    for name, annotation in make.__annotations__.items():
        declared = read_input(f"{subject}.{name}", evaluate_field(annotation, scope))
        default, tooltip = defaults.get(name, MISSING), tips.get(name, "")
        ports.append(Port(name=name, default=default, tooltip=tooltip, **declared))
    return tuple(ports)


def _read_branches(subject: str, classes: Mapping[str, type[Any]]) -> tuple[Branch, ...]:
    if len(set(classes.values())) != len(classes):
        raise SpecError(f"{subject}: two of its choices have one class")
    return tuple(
        Branch(choice, make, read_fields(subject, make)) for choice, make in classes.items()
    )


def evaluate_field(annotation: Any, scope: dict[str, Any]) -> Any:
    """Return a NamedTuple field's type, which the class holds as a string of its module."""
    is_reference = isinstance(annotation, typing.ForwardRef)
    source = annotation.__forward_arg__ if is_reference else annotation
    return eval(source, scope) if isinstance(source, str) else source


def _type_fields(subject: str, base: Any, markers: tuple[Any, ...]) -> dict[str, Any]:
    """Return the type, range, choices, file and family of an input."""
    for marker in markers:
        if isinstance(marker, Socket):
            return {
                "type": marker.type,
                "family": marker.family,
                "compatible": marker.compatible,
                "plain": find_marker(Plain, markers),
            }
        if isinstance(marker, Matched):
            return {"type": marker.allowed, "matched": marker.name}
        if isinstance(marker, File):
            return {"type": "COMBO" if marker.names else "STRING", "file": marker}
        if isinstance(marker, Choices):
            return {"type": "COMBO", "choices": marker}
    if get_origin(base) is Literal:
        choices = get_args(base)
        if not all(isinstance(choice, str) for choice in choices):
            raise SpecError(f"{subject}: a Literal's choices must be strings")
        return {"type": "COMBO", "choices": choices}
    if base not in PRIMITIVES:
        raise SpecError(
            f"{subject}: {base!r} is not a port type; write int, float, str, bool, a Literal, "
            f"or Annotated[..., Socket('NAME')]"
        )
    between = find_marker(Between, markers)
    if between is not None and base not in (int, float):
        raise SpecError(f"{subject}: only numbers have a range")
    if between is not None and between.low > between.high:
        raise SpecError(f"{subject}: its range {between} is empty")
    return {"type": PRIMITIVES[base], "between": between}


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        base, *markers = get_args(annotation)
        return base, tuple(markers)
    return annotation, ()
