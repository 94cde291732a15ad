"""The axes of a sweep: inputs and their values, as a file, a program or the command line says.

In a native file:

    sweep:
      over: {denoise: {from: 0.3, to: 0.8, step: 0.1}, sample.seed: [1, 2, 3]}
      replace: {prompt: {house: [castle, barn]}}
      zip: false
      best: edges.f1
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import FormatError
from .graph import Graph
from .literal import describe_value

MAX_CELLS = 10_000
# Of the numbers of a range, in powers of ten.
MAX_EXPONENT = 30
KEYS = ("over", "replace", "zip", "best")
RANGE_KEYS = ("from", "to", "step")


@dataclass(frozen=True)
class Axis:
    """An input of the graph or of a node, and its values.

    Attributes:
        target: the name of an input of the graph, or `node.input`.
        values: literals; of an axis of texts, what stands in place of one in a prompt.
        texts: one for each value, to show it; by default made of the values.
        searched: the text that the values replace; empty if they are the values of the input.
        files: that the values name, outside the folders of the graph.
    """

    target: str
    values: tuple[Any, ...]
    texts: tuple[str, ...] = ()
    searched: str = ""
    files: frozenset[Path] = frozenset()

    def __post_init__(self) -> None:
        if not self.texts:
            object.__setattr__(self, "texts", tuple(map(_show, self.values)))

    @property
    def name(self) -> str:
        """The target, and the text that is replaced there, as `prompt:house`."""
        return f"{self.target}:{self.searched}" if self.searched else self.target


@dataclass(frozen=True)
class ValueRange:
    """Numbers from a start to an end, both included where the step reaches it."""

    start: Decimal
    end: Decimal
    step: Decimal

    def texts(self, where: str) -> tuple[str, ...]:
        """Return the numbers, written with as many digits as the start and the step have.

        Raises:
            FormatError: the step leads elsewhere, or there are too many numbers.
        """
        start, end, step = self.start, self.end, self.step
        if not all(map(_is_plain, (start, end, step))) or step == 0:
            shown = f"{start}:{end}:{step}"
            raise FormatError(
                f"{where}: expected from:to:step with a step other than 0, got {shown}"
            )
        if (end - start) * step < 0:
            raise FormatError(
                f"{where}: expected a step that leads from {start} to {end}, got {step}"
            )
        if abs(end - start) >= abs(step) * MAX_CELLS:
            raise FormatError(f"{where}: expected at most {MAX_CELLS} values, got more")
        count = int((end - start) / step) + 1
        return tuple(f"{start + index * step:f}" for index in range(count))


def read_axes(block: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return the axes of a `sweep:` block, whose other keys are checked too.

    Raises:
        FormatError: a part of it is not what the format has there.
    """
    unknown = [str(key) for key in block if key not in KEYS]
    if unknown:
        raise FormatError(f"sweep: expected {', '.join(KEYS)}, got {', '.join(unknown)}")
    if not isinstance(block.get("zip", False), bool):
        raise FormatError(f"sweep, zip: expected true or false, got {describe_value(block['zip'])}")
    if not isinstance(block.get("best", ""), str):
        got = describe_value(block["best"])
        raise FormatError(f"sweep, best: expected an expression, got {got}")
    axes = [
        Axis(str(target), _read_values(f"sweep, {target}", values))
        for target, values in _mapping("sweep, over", block.get("over")).items()
    ]
    for target, texts in _mapping("sweep, replace", block.get("replace")).items():
        for searched, values in _mapping(f"sweep, replace, {target}", texts).items():
            where = f"sweep, replace, {target}, {searched}"
            read = _read_values(where, values)
            if not searched or not all(isinstance(value, str) for value in read):
                raise FormatError(f"{where}: expected strings, got {describe_value(list(read))}")
            axes.append(Axis(str(target), read, searched=str(searched)))
    if not axes:
        raise FormatError("sweep: expected an axis under over: or replace:, got none")
    return tuple(axes)


def make_axes(over: Mapping[str, Iterable[Any]]) -> tuple[Axis, ...]:
    """Return axes of values that a program gives; `prompt:house` replaces words of a prompt."""
    axes = []
    for name, given in over.items():
        values = tuple(given)
        files = frozenset(value.absolute() for value in values if isinstance(value, Path))
        target, colon, searched = name.partition(":")
        if colon and searched and "." not in searched:
            axes.append(Axis(target, values, searched=searched, files=files))
        else:
            axes.append(Axis(name, values, files=files))
    return tuple(axes)


def set_values(graph: Graph, axes: Sequence[Axis], values: Sequence[Any]) -> Graph:
    """Return the graph with the values of a cell, one for each axis, and without its own sweep.

    Raises:
        FormatError: a prompt does not have the text that is to be replaced.
        GraphError: there is no such input.
    """
    graph, prompts = replace(graph, sweep={}), dict[str, str]()
    for axis, value in zip(axes, values, strict=True):
        if not axis.searched:
            graph = _set(graph, axis.target, value)
            continue
        text = prompts.get(axis.target, _text_of(graph, axis.target))
        if axis.searched not in text:
            got = describe_value(text)
            raise FormatError(f"{axis.name}: expected text with {axis.searched!r}, got {got}")
        prompts[axis.target] = text.replace(axis.searched, str(value))
    for target, text in prompts.items():
        graph = _set(graph, target, text)
    return graph


def _set(graph: Graph, target: str, value: Any) -> Graph:
    return graph.set(target, value) if graph.split(target)[0] else graph.set_input(target, value)


def _text_of(graph: Graph, target: str) -> str:
    id, port = graph.split(target)
    if not id:
        declared = graph.inputs.get(target)
        return str(declared.default) if declared is not None else ""
    node = graph.nodes.get(id)
    return str(node.inputs.get(port, "")) if node is not None else ""


def _mapping(where: str, value: Any) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FormatError(f"{where}: expected a mapping, got {describe_value(value)}")
    return value


def _read_values(where: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, Mapping):
        return tuple(_read_range(where, values))
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        expected = "a list, or {from: 0.3, to: 0.8, step: 0.1}"
        raise FormatError(f"{where}: expected {expected}, got {describe_value(values)}")
    return tuple(values)


def _read_range(where: str, given: Mapping[Any, Any]) -> Iterator[int | float]:
    numbers = [given.get(key, 1 if key == "step" else None) for key in RANGE_KEYS]
    if set(given) - set(RANGE_KEYS) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in numbers
    ):
        expected = "numbers as from, to and step"
        raise FormatError(f"{where}: expected {expected}, got {describe_value(dict(given))}")
    texts = ValueRange(*(Decimal(str(number)) for number in numbers)).texts(where)
    is_whole = all(isinstance(number, int) for number in numbers)
    yield from (int(text) if is_whole else float(text) for text in texts)


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_show, value))
    return str(value)


def _is_plain(number: Decimal) -> bool:
    """Return whether a number is finite, and has few enough digits to be written out."""
    return number.is_finite() and abs(number.adjusted()) <= MAX_EXPONENT


def count_cells(axes: Sequence[Axis], zipped: bool) -> int:
    """Return the number of cells.

    Raises:
        FormatError: there are no values or too many cells, or axes that move together differ
            in length.
    """
    if not axes:
        raise FormatError("--over: expected at least one axis, got none")
    for axis in axes:
        if not axis.values:
            raise FormatError(f"--over {axis.name}: expected values, got none")
        if not zipped and len(set(axis.texts)) < len(axis.texts):
            raise FormatError(f"--over {axis.name}: expected different values, got one twice")
    if len({axis.name for axis in axes}) < len(axes):
        raise FormatError("--over: expected different inputs, got one twice")
    lengths = [len(axis.values) for axis in axes]
    if zipped and len(set(lengths)) > 1:
        got = ", ".join(f"{axis.name} {len(axis.values)}" for axis in axes)
        raise FormatError(f"--zip: expected as many values on each axis, got {got}")
    count = lengths[0] if zipped else math.prod(lengths)
    if count > MAX_CELLS:
        raise FormatError(f"--over: expected at most {MAX_CELLS} cells, got {count}")
    return count
