"""Converting a literal to the value of a port: `8` becomes `8.0` for a FLOAT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Problem, did_you_mean
from ..node.ports import ANY
from ..node.spec import Port
from .graph import InputRef, Link

MAX_LENGTH = 80
MAX_OPTIONS = 12


class LiteralError(Exception):
    """A literal that a port does not accept.

    Args:
        kind: a stable word for programs, as in Problem.
        expected, got, hint: as in Problem.
    """

    def __init__(self, kind: str, expected: str, got: str, hint: str = "") -> None:
        super().__init__(kind, expected, got, hint)
        self.kind, self.expected, self.got, self.hint = kind, expected, got, hint

    def problem(self, node: str, type_name: str, port: str, source: str = "") -> Problem:
        """Return the error as a problem of this input."""
        return Problem(
            kind=self.kind,
            node=node,
            type=type_name,
            port=port,
            expected=self.expected,
            got=self.got,
            source=source,
            hint=self.hint,
        )


def coerce(port: Port, value: Any) -> Any:
    """Return the literal as the node's function receives it; a file port's name stays a name.

    Raises:
        LiteralError: the port does not accept it.
    """
    if value is None and port.optional:
        return None
    kind = port.type
    if kind == "FLOAT":
        return _in_range(port, _to_float(value))
    if kind == "INT":
        return _in_range(port, _to_int(value))
    if kind == "BOOLEAN":
        if not isinstance(value, bool):
            raise LiteralError("wrong_type", "true or false", describe_value(value))
        return value
    if kind in ("STRING", "COMBO"):
        if port.file is not None and isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str):
            raise LiteralError("wrong_type", "a string", describe_value(value))
        if not is_unicode(value):
            raise LiteralError("wrong_type", "valid Unicode", ascii(value)[:MAX_LENGTH])
        return _one_of_options(port, value) if kind == "COMBO" else value
    if port.plain or kind == ANY or ("," in kind and _type_of(value) in kind.split(",")):
        return value
    expected = f"a link to an output of type {kind}" if port.is_edge else f"one of {kind}"
    raise LiteralError("wrong_type", expected, f"the literal {describe_value(value)}")


def _type_of(value: Any) -> str:
    """Return the type of a literal; empty if it is none of an input's, or not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}.get(type(value), "")


def missing_hint(port: Port) -> str:
    """Return what to do about an input that has no value."""
    return f"link it to an output of type {port.type}" if port.is_edge else ""


def describe_value(value: Any) -> str:
    """Return a value on one short line for messages: plain data as code, else its type or shape.

    >>> describe_value((1, "a")), describe_value(object()), describe_value([object()] * 2)
    ("[1, 'a']", 'object', '2 values')
    """
    if isinstance(value, Link | InputRef):
        return str(value)
    type_name: str = type(value).__name__
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type_name}{tuple(shape)}"
    if isinstance(value, list | tuple) and not _is_plain(value):
        return f"{len(value)} values"
    if not _is_plain(value):
        return type_name
    text = repr(_plain(value))
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


def is_unicode(text: str) -> bool:
    """Return whether a string can be written as UTF-8; half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: Any) -> bool:
    """Return whether a value is what JSON holds, or a path."""
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | Path)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LiteralError("wrong_type", "a number", describe_value(value))
    try:
        return float(value)
    except OverflowError:
        shown = describe_value(value)
        raise LiteralError("out_of_range", "a number that a float can hold", shown) from None


def _to_int(value: Any) -> int:
    is_integral = isinstance(value, float) and math.isfinite(value) and value == int(value)
    if isinstance(value, bool) or not (isinstance(value, int) or is_integral):
        raise LiteralError("wrong_type", "a whole number", describe_value(value))
    return int(value)


def _in_range(port: Port, value: float) -> float:
    if port.between is not None and not port.between.holds(value):
        raise LiteralError("out_of_range", f"a number from {port.between}", describe_value(value))
    if not math.isfinite(value):
        raise LiteralError("out_of_range", "a finite number", describe_value(value))
    return value


def _one_of_options(port: Port, value: str) -> str:
    options = port.options()
    if options is None or value in options:
        return value
    plain = value.replace("\\", "/")
    if port.file is not None and plain in options:  # a path in Windows notation
        return plain
    hint = did_you_mean(value, options, cutoff=0.6) or _missing_reason(port, value)
    raise LiteralError("not_in_list", _list(options), repr(value), hint)


def _missing_reason(port: Port, name: str) -> str:
    """Return why there is no file of this name, as its resolver says."""
    if port.file is None or port.file.resolve is None:
        return ""
    try:
        port.file.resolve(name)
    except (LookupError, ValueError, OSError) as error:
        return str(error)
    return ""


def _list(options: Sequence[str]) -> str:
    if not options:
        return "an installed one; none is installed"
    listed = ", ".join(options[:MAX_OPTIONS])
    count = len(options) - MAX_OPTIONS
    more = f", and {count} more" if count > 0 else ""
    return f"one of {listed}{more}"
