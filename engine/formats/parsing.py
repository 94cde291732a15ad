"""YAML and JSON that is safe to read: bounded before it is parsed, and plain values only.

No anchors, aliases, tags, merge keys, dates or duplicate keys; no NaN; YAML's `no` is a text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml

from ..errors import FormatError

MOST_BYTES = 16 * 2**20
DEEPEST = 64
SMALLEST, LARGEST = -(2**63), 2**64 - 1


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        FormatError: it is too large, too deep, or not JSON; the message says where.
    """
    _check_size(text)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"not JSON: {error.msg} at {where}") from error
    _check_text(value)
    return value


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        FormatError: it is too large, too deep, not YAML, or uses what is not allowed here.
    """
    _check_size(text)
    try:
        _check_events(text)
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FormatError(f"not YAML: {error.problem or error.context}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"not YAML: {error}") from error
    _check_text(value)
    return value


def _check_size(text: str) -> None:
    if len(text) > MOST_BYTES:
        raise FormatError(f"the file has {len(text)} characters; at most {MOST_BYTES} are read")


def _check_depth(text: str) -> None:
    """Count brackets outside strings, before a parser that recurses sees them."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        token = found.group()
        depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        if depth > DEEPEST:
            raise FormatError(f"nested deeper than {DEEPEST} levels")


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        line = f"line {event.start_mark.line + 1}" if event.start_mark else ""
        if depth > DEEPEST:
            raise FormatError(f"nested deeper than {DEEPEST} levels at {line}")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise FormatError(f"anchors and aliases are not allowed ({line})")
        if tag := getattr(event, "tag", None):
            raise FormatError(f"tags are not allowed ({line}): {tag}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError(f"the key {twice!r} is given twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise FormatError(f"{name} is no number that can be used")


def _bounded_int(text: str) -> int:
    value = int(text) if len(text) <= 21 else LARGEST + 1
    if not SMALLEST <= value <= LARGEST:
        raise FormatError(f"the number {text[:24]} does not fit in 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError(f"the number {text[:24]} is too large")
    return value


def _check_text(value: Any) -> None:
    """Refuse texts with half a surrogate pair, which cannot be written again."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise FormatError(f"a text is not valid Unicode: {item[:40]!r}") from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A SafeLoader for YAML 1.2's core values: null, true, false, numbers, texts."""


_Loader.yaml_implicit_resolvers = {}
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
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float) or key == "<<":
            raise FormatError(f"the key at line {line} is no plain text")
        if key in found:
            raise FormatError(f"the key {key!r} is given twice (line {line})")
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    return _bounded_int(loader.construct_scalar(node))


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    if "n" in text.lower():
        raise FormatError(f"{text} is no number that can be used (line {node.start_mark.line + 1})")
    return _finite(text)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
