"""Safe reading of YAML and JSON: bounded before parsing, and plain values only.

Anchors, aliases, tags, merge keys, duplicate keys and NaN are refused. Dates and YAML 1.1's `no`
are strings.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeGuard

import yaml

from ..errors import FormatError
from ..graph.literal import is_unicode

Numbers = Literal["finite", "inputs", "file", "any"]
VERSION = 1
"""Of native files: the value of their key `latentloom`."""
MAX_BYTES = 16 * 2**20
MAX_VALUES = 1_000_000
MAX_DEPTH = 64
MIN_SIZE, MAX_VALUE = -(2**63), 2**64 - 1
MAX_DIGITS = 400


def parse_text(text: str) -> Any:
    """Parse a file in JSON or YAML.

    Raises:
        FormatError: as `parse_json` with numbers of files, or `parse_yaml`.
    """
    is_json = text.lstrip()[:1] in ("{", "[")
    return parse_json(text, numbers="file") if is_json else parse_yaml(text)


def parse_json(text: str, numbers: Numbers = "finite") -> Any:
    """Parse JSON.

    Args:
        numbers: which numbers must be finite and fit in 64 bits. "inputs" is for prompts and
            workflows of ComfyUI, which writes NaN beside the inputs of a node: only the inputs
            of prompts, and native graphs. "file" is the same for its files, where whole numbers
            of up to MAX_DIGITS digits stay as they are: the node that uses one decides. "any" is
            for its images: none, and whole numbers stay too. The others become null, or floats.

    Raises:
        FormatError: the text is too large, too deep, or not JSON; the message says where.
    """
    _check_size(text)
    _check_depth(text)
    check_count(text)
    marked: list[_Bad] = []
    try:
        value = json.loads(
            text,
            object_pairs_hook=partial(_unique, marked),
            parse_constant=partial(_refuse_constant, marked),
            parse_int=partial(_json_int, marked),
            parse_float=partial(_json_float, marked),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"not JSON: {error.msg} at {where}") from error
    if marked or _SURROGATE.search(text) or not is_unicode(text):
        is_native = isinstance(value, dict) and "latentloom" in value
        _check_values(value, "finite" if is_native else numbers)
    return value


def parse_yaml(text: str) -> Any:
    """Parse YAML.

    Raises:
        FormatError: the text is too large, too deep, not YAML, or uses a refused feature.
    """
    _check_size(text)
    try:
        value = _YamlReader(text).document()
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
        raise FormatError(f"expected at most {MAX_BYTES} characters, got {len(text)}")


def _check_depth(text: str) -> None:
    """Count brackets outside strings, before a recursive parser sees them.

    The pattern is possessive and accepts unclosed strings, so that it takes linear time.
    """
    depth = 0
    for match in _BRACKETS.finditer(text):
        token = match[1]
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            line = text.count("\n", 0, match.start(1)) + 1
            raise FormatError(f"nested deeper than {MAX_DEPTH} levels at line {line}")


def check_count(text: str) -> None:
    """Count keys and values by the marks between them, before a parser makes objects of them."""
    if text.count(",") + text.count(":") < MAX_VALUES:
        return
    for count, match in enumerate(_SEPARATORS.finditer(text), 1):
        if count >= MAX_VALUES:
            line = text.count("\n", 0, match.end()) + 1
            raise FormatError(f"more than {MAX_VALUES} values at line {line}")


_SEPARATORS = re.compile(r'(?:"(?:[^"\\]++|\\.?)*+"?|[^",:]++)*+[,:]', re.DOTALL)
_BRACKETS = re.compile(r'(?:"(?:[^"\\]++|\\.?)*+"?|[^"\[{\]}]++)*+([\[{\]}]|\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class _Bad:
    """Stands for a refused value in parsed JSON, until its path is known for the message.

    Attributes:
        is_number: whether it may stand where nothing reads it, as `replacement`.
        integer: the number itself, if it is a whole number of at most MAX_DIGITS digits.
    """

    message: str
    is_number: bool = False
    replacement: float | None = None
    integer: int | None = None


def _mark(marked: list[_Bad], bad: _Bad) -> _Bad:
    marked.append(bad)
    return bad


def _unique(marked: list[_Bad], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                mapping[key] = _mark(marked, _Bad("the key is given twice"))
            seen.add(key)
    return mapping


def _refuse_constant(marked: list[_Bad], name: str) -> _Bad:
    return _mark(marked, _Bad(f"expected a finite number, got {name}", is_number=True))


def _json_int(marked: list[_Bad], text: str) -> int | _Bad:
    try:
        return _bounded_int(text)
    except FormatError as error:
        number = float(text)
        replacement = number if math.isfinite(number) else None
        integer = int(text) if len(text) <= MAX_DIGITS else None
        bad = _Bad(str(error), is_number=True, replacement=replacement, integer=integer)
        return _mark(marked, bad)


def _json_float(marked: list[_Bad], text: str) -> float | _Bad:
    try:
        return _finite(text)
    except FormatError as error:
        return _mark(marked, _Bad(str(error), is_number=True))


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


_Path = tuple[Any, ...]
"""Where a value stands: () for the root, else the path of its parent and its own key."""


def _check_values(value: Any, numbers: Numbers = "finite") -> None:
    """Refuse what was marked, and strings with half a surrogate pair, which UTF-8 cannot hold.

    Marked numbers that `numbers` allows are replaced.
    """
    waiting: list[tuple[Any, _Path]] = [(value, ())]
    while waiting:
        item, path = waiting.pop()
        if isinstance(item, dict):
            for key, inner in item.items():
                if isinstance(key, str) and not is_unicode(key):
                    raise FormatError(f"a key of {_pointer(path)} is not valid Unicode: {key!a}")
                if isinstance(inner, int | float | None):
                    continue
                if _is_allowed(inner, (path, key), numbers):
                    item[key] = _replacement(inner, numbers)
                else:
                    waiting.append((inner, (path, key)))
        elif isinstance(item, list):
            for index, inner in enumerate(item):
                if _is_allowed(inner, (path, index), numbers):
                    item[index] = _replacement(inner, numbers)
                else:
                    waiting.append((inner, (path, index)))
        elif isinstance(item, _Bad):
            raise FormatError(f"{item.message} at {_pointer(path)}")
        elif isinstance(item, str) and not is_unicode(item):
            raise FormatError(f"the string at {_pointer(path)} is not valid Unicode: {item[:40]!a}")


def _is_allowed(item: Any, path: _Path, numbers: Numbers) -> TypeGuard[_Bad]:
    """Return whether an item is a number that need not be read."""
    if not isinstance(item, _Bad) or not item.is_number or numbers == "finite":
        return False
    if numbers == "file" and item.integer is not None:
        return True
    keys = _keys(path)
    inside = keys[1:] if keys[0] == "prompt" else keys
    return numbers == "any" or (len(inside) > 1 and inside[1:-1][:1] != ["inputs"])


def _replacement(item: _Bad, numbers: Numbers) -> float | None:
    return item.integer if numbers != "inputs" and item.integer is not None else item.replacement


def _keys(path: _Path) -> list[Any]:
    keys: list[Any] = []
    while path:
        path, key = path
        keys.append(key)
    return keys[::-1]


def _pointer(path: _Path) -> str:
    """Return a path as a JSON pointer, such as `/nodes/pass1/seed`; `/` is the root."""
    keys = (str(key).replace("~", "~0").replace("/", "~1") for key in _keys(path))
    text = "/" + "/".join(keys)
    return text.encode("ascii", "backslashreplace").decode() if not is_unicode(text) else text


class _YamlReader:
    """Reads one document of YAML 1.2's core values: null, true, false, numbers and strings.

    The values are built from the parser's events in one pass, so that the bounds hold before
    there is anything that they bound. The nodes of the library's own loader double the time.
    """

    def __init__(self, text: str) -> None:
        self._parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self._count = 0

    def document(self) -> Any:
        """Return the value of the only document; None if there is none."""
        try:
            self._next()
            if isinstance(self._next(), yaml.StreamEndEvent):
                return None
            value = self._value(self._next(), 1)
            self._next()
            if not isinstance(event := self._next(), yaml.StreamEndEvent):
                raise FormatError(f"expected one document, got another document at {_line(event)}")
            return value
        finally:
            self._parser.dispose()

    def _next(self) -> Any:
        event = self._parser.get_event()
        self._count += 1
        if self._count > MAX_VALUES:
            raise FormatError(f"more than {MAX_VALUES} values at {_line(event)}")
        return event

    def _value(self, event: Any, depth: int) -> Any:
        if event.anchor is not None:
            raise FormatError(f"anchors and aliases are not allowed ({_line(event)})")
        if event.tag is not None:
            raise FormatError(f"tags are not allowed ({_line(event)}): {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if depth > MAX_DEPTH:
            raise FormatError(f"nested deeper than {MAX_DEPTH} levels at {_line(event)}")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        """Return a mapping with strings as keys; integer keys become strings, as in JSON."""
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._value(event, depth + 1)
            if isinstance(key, int) and not isinstance(key, bool):
                key = event.value
            if not isinstance(key, str) or (key == "<<" and event.implicit[0]):
                raise FormatError(f"the key at {_line(event)} must be a string")
            if key in mapping:
                raise FormatError(f"the key {key!r} is given twice ({_line(event)})")
            mapping[key] = self._value(self._next(), depth + 1)
        return mapping


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"


def _scalar(event: Any) -> Any:
    """Return the value of a scalar: a quoted one is a string."""
    text: str = event.value
    if event.implicit[0]:
        for kind, pattern in RESOLVERS.get(text[:1], ()):
            if pattern.match(text):
                return _plain_scalar(kind, text, event)
    return text


def _plain_scalar(kind: str, text: str, event: Any) -> Any:
    try:
        match kind:
            case "int":
                return _bounded_int(text)
            case "float" if "n" in text.lower():
                raise FormatError(f"expected a finite number, got {text}")
            case "float":
                return _finite(text)
        return {"true": True, "false": False}.get(text)
    except FormatError as error:
        raise FormatError(f"{error} ({_line(event)})") from None


_KINDS = (
    ("null", r"(?:~|null|)\Z", ("~", "n", "")),
    ("bool", r"(?:true|false)\Z", "tf"),
    ("int", r"[-+]?[0-9]+\Z", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", "-+.0123456789"),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z", "-+."),
)
# What a plain scalar may be, by its first character.
RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _kind, _pattern, _firsts in _KINDS:
    for _first in _firsts:
        RESOLVERS.setdefault(_first, []).append((_kind, re.compile(_pattern)))
