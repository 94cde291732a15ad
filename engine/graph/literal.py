"""Whether a literal is a value of a port, and what it is there: `8` is `8.0` to a FLOAT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..node.ports import ANY
from ..node.spec import Port

MAX_LENGTH = 80


class LiteralError(Exception):
    """A literal that a port does not take: a kind for machines, wanted, got and what to do."""

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
    """The literal as the node's function receives it; a file port's name stays a name.

    Raises:
        LiteralError: it is no value of this port.
    """
    if value is None and port.optional:
        return None
    kind = port.type
    if kind == "FLOAT":
        return _number(port, _float(value))
    if kind == "INT":
        return _number(port, _int(value))
    if kind == "BOOLEAN":
        if not isinstance(value, bool):
            raise LiteralError("wrong_type", "true or false", shown(value))
        return value
    if kind in ("STRING", "COMBO"):
        if port.file is not None and isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str):
            raise LiteralError("wrong_type", "a text", shown(value))
        if not is_unicode(value):
            raise LiteralError(
                "wrong_type", "a text that is valid Unicode", ascii(value)[:MAX_LENGTH]
            )
        return _choice(port, value) if kind == "COMBO" else value
    if kind == ANY:
        return value
    raise LiteralError(
        "wrong_type", f"a link to an output of type {kind}", f"the literal {shown(value)}"
    )


def missing_hint(port: Port) -> str:
    """What to do about an input that has no value."""
    return f"link it to an output of type {port.type}" if port.is_edge else ""


def shown(value: Any) -> str:
    """A value in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."


def is_unicode(text: str) -> bool:
    """Return whether a string can be written as UTF-8: half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LiteralError("wrong_type", "a number", shown(value))
    try:
        return float(value)
    except OverflowError:
        raise LiteralError("out_of_range", "a number that a float can hold", shown(value)) from None


def _int(value: Any) -> int:
    whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
    if isinstance(value, bool) or not (isinstance(value, int) or whole):
        raise LiteralError("wrong_type", "a whole number", shown(value))
    return int(value)


def _number(port: Port, value: float) -> float:
    if port.between is not None and not port.between.holds(value):
        raise LiteralError("out_of_range", f"a number from {port.between}", shown(value))
    if not math.isfinite(value):
        raise LiteralError("out_of_range", "a finite number", shown(value))
    return value


def _choice(port: Port, value: str) -> str:
    options = port.options()
    if options is None or value in options:
        return value
    plain = value.replace("\\", "/")
    if port.file is not None and plain in options:  # a path as Windows writes it
        return plain
    close = get_close_matches(value, options, n=1)
    hint = f"did you mean {close[0]!r}?" if close else _reason(port, value)
    raise LiteralError("not_in_list", _list(options), repr(value), hint)


def _reason(port: Port, name: str) -> str:
    """Why there is no file of this name, from what would find it."""
    if port.file is None or port.file.resolve is None:
        return ""
    try:
        port.file.resolve(name)
    except (LookupError, ValueError, OSError) as error:
        return str(error)
    return ""


def _list(options: Sequence[str]) -> str:
    if not options:
        return "one that is installed; none is"
    listed = ", ".join(options[:12])
    more = f", and {len(options) - 12} more" if len(options) > 12 else ""
    return f"one of {listed}{more}"
