"""Entries under `inputs:` of native files: the inputs that a graph declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import GraphInput
from ..graph.literal import describe_value
from .native_values import check_keys, text_in, thaw

INPUT_KEYS = ("type", "default", "min", "max", "choices", "description")


def read_input(name: str, entry: Any) -> GraphInput:
    """Return the declaration of an input.

    Raises:
        FormatError: a part of it is not what the format has there.
    """
    where = f"input {name}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise FormatError(f"{where}: expected a mapping with `type:`, got {describe_value(entry)}")
    check_keys(entry, INPUT_KEYS, where)
    for key in ("min", "max"):
        number = entry.get(key)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise FormatError(f"{where}, {key}: expected a number, got {describe_value(number)}")
    choices = entry.get("choices")
    if choices is not None and not (
        isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
    ):
        raise FormatError(
            f"{where}, choices: expected a list of strings, got {describe_value(choices)}"
        )
    return GraphInput(
        type=entry["type"],
        default=entry.get("default"),
        min=entry.get("min"),
        max=entry.get("max"),
        choices=None if choices is None else tuple(choices),
        description=text_in(entry, "description"),
    )


def write_input(graph_input: GraphInput) -> dict[str, Any]:
    """Return a declaration as a file holds it."""
    entry: dict[str, Any] = {"type": graph_input.type}
    for key in INPUT_KEYS[1:]:
        value = getattr(graph_input, key)
        if value is not None and value != "":
            entry[key] = thaw(value)
    if graph_input.default == "":
        entry["default"] = ""
    return entry
