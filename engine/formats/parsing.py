"""YAML and JSON that is safe to read: bounded before it is parsed, and plain values only.

No anchors, aliases, tags, merge keys, dates or duplicate keys; no NaN; YAML's `no` is a text.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import FormatError
from ..graph.literal import is_unicode

MAX_BYTES = 16 * 2**20
MAX_VALUES = 1_000_000
MAX_DEPTH = 64
MIN_SIZE, MAX_VALUE = -(2**63), 2**64 - 1


def parse_json(text: str, lenient: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        lenient: read NaN and Infinity, which ComfyUI writes into images, as null.

    Raises:
        FormatError: it is too large, too deep, or not JSON; the message says where.
    """
    _check_size(text)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_nothing if lenient else _refuse_constant,
            parse_int=_json_int,
            parse_float=_json_float,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"not JSON: {error.msg} at {where}") from error
    _check_values(value)
    return value


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        FormatError: it is too large, too deep, not YAML, or uses what is not allowed here.
    """
    _check_size(text)
    try:
        _check_events(text)
        value = yaml.load(text, PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FormatError(f"not YAML: {error.problem or error.context}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"not YAML: {error}") from error
    _check_values(value)
    return value


def _check_size(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise FormatError(f"the file has {len(text)} characters; at most {MAX_BYTES} are read")


def _check_depth(text: str) -> None:
    """Count brackets outside strings, before a parser that recurses sees them.

    The pattern never goes back (it is possessive) and takes whatever follows a quote, closed or
    not, so that time is linear in any text.
    """
    depth = 0
    for found in _BRACKETS.finditer(text):
        token = found.group()[0]
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            line = text.count("\n", 0, found.start()) + 1
            raise FormatError(f"nested deeper than {MAX_DEPTH} levels at line {line}")


_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[{\]}]', re.DOTALL)


def _check_events(text: str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=PlainLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = f"line {event.start_mark.line + 1}" if event.start_mark else ""
        if depth > MAX_DEPTH:
            raise FormatError(f"nested deeper than {MAX_DEPTH} levels at {line}")
        if count > MAX_VALUES:
            raise FormatError(f"more than {MAX_VALUES} values at {line}")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise FormatError(f"anchors and aliases are not allowed ({line})")
        if tag := getattr(event, "tag", None):
            raise FormatError(f"tags are not allowed ({line}): {tag}")


@dataclass(frozen=True)
class _Bad:
    """Stands in parsed JSON for what is refused, until the place that it has is known."""

    message: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found[key] = _Bad("the key is given twice")
            seen.add(key)
    return found


def _nothing(_name: str) -> None:
    return None


def _refuse_constant(name: str) -> _Bad:
    return _Bad(f"{name} is no number that can be used")


def _json_int(text: str) -> int | _Bad:
    try:
        return _bounded_int(text)
    except FormatError as error:
        return _Bad(str(error))


def _json_float(text: str) -> float | _Bad:
    try:
        return _finite(text)
    except FormatError as error:
        return _Bad(str(error))


def _bounded_int(text: str) -> int:
    value = int(text) if len(text) <= 21 else MAX_VALUE + 1
    if not MIN_SIZE <= value <= MAX_VALUE:
        raise FormatError(f"the number {text[:24]} does not fit in 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError(f"the number {text[:24]} is too large")
    return value


_Place = tuple[Any, ...]


def _check_values(value: Any) -> None:
    """Refuse what was marked, and texts with half a surrogate pair, which cannot be written.

    A place is a pair of its parent's place and its own key, so that naming it costs only those
    who need the name.
    """
    waiting: list[tuple[Any, _Place]] = [(value, ())]
    while waiting:
        item, place = waiting.pop()
        if isinstance(item, dict):
            for key, inner in item.items():
                if isinstance(key, str) and not is_unicode(key):
                    raise FormatError(f"a key of {_pointer(place)} is not valid Unicode: {key!a}")
                if not isinstance(inner, int | float | None):
                    waiting.append((inner, (place, key)))
        elif isinstance(item, list):
            waiting.extend((inner, (place, index)) for index, inner in enumerate(item))
        elif isinstance(item, _Bad):
            raise FormatError(f"{item.message} at {_pointer(place)}")
        elif isinstance(item, str) and not is_unicode(item):
            raise FormatError(f"the text at {_pointer(place)} is not valid Unicode: {item[:40]!a}")


def _pointer(place: _Place) -> str:
    """A JSON pointer, such as `/nodes/pass1/seed`; `/` is the whole."""
    keys: list[str] = []
    while place:
        place, key = place
        keys.append(str(key).replace("~", "~0").replace("/", "~1"))
    text = "/" + "/".join(reversed(keys))
    return text.encode("ascii", "backslashreplace").decode() if not is_unicode(text) else text


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A SafeLoader for YAML 1.2's core values: null, true, false, numbers, texts."""


PlainLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping with texts as keys; whole numbers are taken as texts, as JSON has no others."""
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key_node.value)
        if not isinstance(key, str) or (key == "<<" and not key_node.style):
            raise FormatError(f"the key at line {line} is no plain text")
        if key in found:
            raise FormatError(f"the key {key!r} is given twice (line {line})")
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    try:
        return _bounded_int(loader.construct_scalar(node))
    except FormatError as error:
        raise FormatError(f"{error} (line {node.start_mark.line + 1})") from None


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float:
    text, line = str(loader.construct_scalar(node)), node.start_mark.line + 1
    if "n" in text.lower():
        raise FormatError(f"{text} is no number that can be used (line {line})")
    try:
        return _finite(text)
    except FormatError as error:
        raise FormatError(f"{error} (line {line})") from None


PlainLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
PlainLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
PlainLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)
