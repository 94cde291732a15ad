"""Expectations: what a graph's results should be, as its file says under `expect:`.

    expect:
      save: {like: golden.png, within: 2.0}
      report.outside_change: 0
      change.psnr: {min: 30}
      mean.FLOAT: {is: 0.5, within: 0.01}

The name is that of a node, then of one of its outputs if it has several, then fields of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, did_you_mean
from .graph import Graph
from .literal import describe_value

KEYS = ("like", "within", "is", "min", "max")
MAX_EXPECTATIONS = 1000
Plain = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """An expectation of one value.

    Attributes:
        target: as the file has it, such as `report.outside_change`.
        like: image files, one for each image, named from the folder of the graph; empty for a
            value.
        value: the value itself, if `has_value`.
        within: how far off an image may be, in mean CIEDE2000, or a number.
        low, high: range of a number; None for no bound.
    """

    target: str
    like: tuple[str, ...] = ()
    value: Plain = None
    has_value: bool = False
    within: float = 0.0
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.like:
            names = ", ".join(self.like)
            return f"{self.target} like {names}" + (f" within {self.within:g}" * bool(self.within))
        if self.has_value:
            exact = f"{self.target} is {self.value!r}"
            return f"{exact} within {self.within:g}" if self.within else exact
        low = [f"at least {self.low:g}"] if self.low is not None else []
        high = [f"at most {self.high:g}"] if self.high is not None else []
        return f"{self.target} is {' and '.join([*low, *high])}"


def read_expectations(block: Mapping[str, Any]) -> tuple[Expectation, ...]:
    """Return the expectations of an `expect:` block.

    Raises:
        FormatError: one of them has another form.
    """
    if len(block) > MAX_EXPECTATIONS:
        got = f"{len(block)}"
        raise FormatError(f"expect: expected at most {MAX_EXPECTATIONS} entries, got {got}")
    return tuple(_read(str(target), entry) for target, entry in block.items())


def split_target(target: str, graph: Graph) -> tuple[str, tuple[str, ...]]:
    """Return the node that a name begins with, the longest that there is, and the rest.

    Raises:
        FormatError: there is no such node.
    """
    words = target.split(".")
    for length in range(len(words), 0, -1):
        id = ".".join(words[:length])
        if id in graph.nodes:
            return id, tuple(words[length:])
    hint = did_you_mean(words[0], graph.nodes)
    text = f"expect, {target}: expected a node of the graph, got {words[0]!r}"
    raise FormatError(f"{text}\n  try:     {hint}" if hint else text)


def _read(target: str, entry: Any) -> Expectation:
    where = f"expect, {target}"
    if not isinstance(entry, Mapping):
        _check_plain(where, entry)
        return Expectation(target=target, value=entry, has_value=True)
    unknown = [str(key) for key in entry if key not in KEYS]
    if unknown:
        raise FormatError(f"{where}: expected {', '.join(KEYS)}, got {unknown[0]}")
    kinds = [key for key in ("like", "is") if key in entry]
    kinds += ["min or max"] if {"min", "max"} & entry.keys() else []
    if len(kinds) != 1:
        got = " and ".join(kinds) or "none of them"
        raise FormatError(f"{where}: expected one of `like`, `is`, and `min` or `max`, got {got}")
    low, high = (_number(where, entry, key) for key in ("min", "max"))
    within = _number(where, entry, "within") or 0.0
    if within < 0 or (within and kinds == ["min or max"]):
        raise FormatError(f"{where}, within: expected a number from 0, with `like` or `is`")
    if "is" in entry:
        _check_plain(where, entry["is"])
        is_number = isinstance(entry["is"], int | float) and not isinstance(entry["is"], bool)
        if within and not is_number:
            got = describe_value(entry["is"])
            raise FormatError(f"{where}, is: expected a number to be within of, got {got}")
    return Expectation(
        target=target,
        like=_files(where, entry["like"]) if "like" in entry else (),
        value=entry.get("is"),
        has_value="is" in entry,
        within=within,
        low=low,
        high=high,
    )


def _check_plain(where: str, value: Any) -> None:
    if value is not None and not isinstance(value, str | int | float):
        expected = "a number, a string, true, false, or a mapping"
        raise FormatError(f"{where}: expected {expected}, got {describe_value(value)}")


def _number(where: str, entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{where}, {key}: expected a number, got {describe_value(value)}")
    return float(value)


def _files(where: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    is_list = isinstance(names, tuple | list) and names
    if not is_list or not all(isinstance(name, str) for name in names):
        got = describe_value(value)
        raise FormatError(f"{where}, like: expected the name of an image, or a list, got {got}")
    return tuple(names)
