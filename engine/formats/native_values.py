"""Values in native files: literals, links and references to graph inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..errors import FormatError
from ..graph.graph import InputRef, Link
from ..graph.literal import describe_value, is_unicode
from .parsing import MAX_VALUE, MIN_SIZE

_LINK = re.compile(r"^\$([^\s$.{}](?:[^\s$]*[^\s$.])?)\.([^.$]+)\Z")
_INPUT_REF = re.compile(r"^\$\{([^{}]+)\}\Z")
_LIST_ITEM = re.compile(r"^(.+)\[([0-9]{1,9})\]\Z")
_INDEX = re.compile(r"^[0-9]{1,9}\Z")


def read_value(where: str, value: Any) -> Any:
    """Read the value of an input as a literal, Link or InputRef.

    Args:
        where: the input's name, for messages.

    Raises:
        FormatError: a string begins with `$` and is neither a link nor a graph input.
    """
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$$"):
        return value[1:]
    if graph_input := _INPUT_REF.match(value):
        name = graph_input.group(1)
        item = _LIST_ITEM.match(name)
        return InputRef(item.group(1), int(item.group(2))) if item else InputRef(name)
    if link := _LINK.match(value):
        id, output = link.groups()
        return Link(id, int(output) if _INDEX.match(output) else output)
    raise FormatError(
        f"{where}: expected $node.OUTPUT or ${{input}}, got {describe_value(value)}; "
        "write $$ for a plain $"
    )


def write_value(where: str, value: Any) -> Any:
    """Return the value of an input as a file holds it.

    Args:
        where: the input's name, for messages.

    Raises:
        FormatError: it would not be read back unchanged.
    """
    if isinstance(value, Link | InputRef):
        text = str(value)
        if not _reads_as(text, value):
            raise FormatError(f"{where}: the name in {text} cannot be used in a link; rename it")
        return text
    if isinstance(value, str) and value.startswith("$"):
        return f"${value}"
    return thaw(value)


def _reads_as(text: str, value: Link | InputRef) -> bool:
    """Return whether a written value is read back unchanged."""
    if isinstance(value, InputRef):
        return _INPUT_REF.match(text) is not None and read_value("", text) == value
    match = _LINK.match(text) if not text.startswith("$$") else None
    if match is None or match.groups() != (value.node, str(value.output)):
        return False
    return isinstance(value.output, int) == bool(_INDEX.match(match.group(2)))


_ATOMS = frozenset({str, int, float, bool, type(None)})


def thaw(value: Any) -> Any:
    """Return a frozen literal as plain lists and dicts; an absolute path as its name alone.

    Raises:
        FormatError: it holds a value that files cannot, such as a link inside a list.
    """
    if value.__class__ in _ATOMS or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict | Mapping):
        return {str(key): thaw(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [thaw(item) for item in value]
    if isinstance(value, PurePath):
        return value.name if value.is_absolute() else value.as_posix()
    raise FormatError(f"{describe_value(value)} cannot be written to a file")


def check_keys(data: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    """Check that a mapping has these keys only.

    Raises:
        FormatError: it has another one.
    """
    for key in data:
        if key not in known:
            raise FormatError(f"{where}: expected one of {', '.join(known)}, got {key!r}")


def as_mapping(value: Any, where: str) -> dict[Any, Any]:
    """Return a mapping of a file, empty for null.

    Raises:
        FormatError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FormatError(f"{where}: expected a mapping, got {describe_value(value)}")
    return dict(value)


def text_in(data: Mapping[Any, Any], key: str) -> str:
    """Return a string of a mapping, empty if it has none.

    Raises:
        FormatError: it is something else.
    """
    value = data.get(key, "")
    if not isinstance(value, str):
        raise FormatError(f"{key}: expected a string, got {describe_value(value)}")
    return value


def refuse_unreadable(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value, after checking that each number and string in it can be read back.

    Raises:
        FormatError: a number is not finite, or a string not valid Unicode.
    """
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise FormatError(f"{item} cannot be written to a file")
        elif isinstance(item, str) and not is_unicode(item):
            raise FormatError(
                f"{item[:40]!a} is not valid Unicode, and cannot be written to a file"
            )
    return value


def with_doubles(value: Any) -> Any:
    """Return a value with integers beyond 64 bits as floats, which is what the editor holds."""
    if isinstance(value, dict):
        return {key: with_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_doubles(item) for item in value]
    if not isinstance(value, int) or MIN_SIZE <= value <= MAX_VALUE:
        return value
    try:
        return float(value)
    except OverflowError:
        raise FormatError(f"{str(value)[:24]}... cannot be written to a file") from None
