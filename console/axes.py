"""The axes of a sweep as they are written on the command line, and the graph of a cell."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.sweep import MAX_CELLS, Axis
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.registry import Registry

from .changes import apply_changes

MAX_LIST_BYTES = 2**20
# Of the numbers of a range, in powers of ten.
MAX_EXPONENT = 30


def parse_axis(name: str, text: str) -> Axis:
    """Read the values of an axis.

    Args:
        text: `0.3:0.8:0.1` from, to and step; `a,b,"c, d"` a list; `@prompts.txt` the lines of a
            file; `@table.csv:column` a column; `photos/*.png` the files that match.

    Raises:
        FormatError: it has none of these forms, or names a file that cannot be read.
    """
    where = f"--over {name}"
    if text.startswith("@"):
        return Axis(name, _from_file(where, text[1:]))
    numbers = _parse_range(where, text)
    if numbers is not None:
        return Axis(name, numbers)
    if "*" in text and "," not in text:
        return Axis(name, _matching(where, Path(text)))
    try:
        rows = list(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise FormatError(f"{where}: expected a list with commas, got {text[:60]!r}") from error
    return Axis(name, tuple(value.strip() for value in rows[0]) if rows else ())


def parse_replacement(name: str, text: str) -> Axis:
    """Read `prompt:house=castle,barn`: an axis of texts in place of one in a prompt.

    Raises:
        FormatError: it names no text to replace.
    """
    target, colon, searched = name.partition(":")
    if not colon or not target or not searched:
        raise FormatError(f"--replace: expected INPUT:TEXT=VALUES, got {name}={text}")
    return Axis(name, parse_axis(name, text).values)


def build_with(
    graph: Graph, registry: Registry
) -> Callable[[Mapping[str, str]], tuple[Graph, frozenset[Path]]]:
    """Return the function that makes the graph of a cell from its values."""

    def build(values: Mapping[str, str]) -> tuple[Graph, frozenset[Path]]:
        inputs: list[tuple[str, str]] = []
        ports: list[tuple[str, str]] = []
        replaced: dict[str, str] = {}
        for name, value in values.items():
            target, colon, searched = name.partition(":")
            if colon and searched:
                text = replaced[target] if target in replaced else _text_of(graph, target)
                if searched not in text:
                    raise FormatError(
                        f"--replace {name}: expected text with {searched!r}, got {text[:60]!r}"
                    )
                replaced[target] = text.replace(searched, value)
            else:
                (ports if "." in name else inputs).append((name, value))
        for target, text in replaced.items():
            (ports if "." in target else inputs).append((target, text))
        return apply_changes(graph, registry, inputs, ports)

    return build


def _text_of(graph: Graph, target: str) -> str:
    id, port = graph.split(target)
    if not id:
        declared = graph.inputs.get(target)
        return str(declared.default) if declared is not None else ""
    node = graph.nodes.get(id)
    return str(node.inputs.get(port, "")) if node is not None else ""


def _parse_range(where: str, text: str) -> tuple[str, ...] | None:
    """Return the numbers of `from:to` or `from:to:step`, both ends included; else None."""
    parts = text.split(":")
    if len(parts) not in (2, 3):
        return None
    try:
        start, end, *rest = map(Decimal, parts)
    except InvalidOperation:
        return None
    step = rest[0] if rest else Decimal(1)
    if not all(map(_is_plain, (start, end, step))) or step == 0:
        raise FormatError(f"{where}: expected from:to:step with a step other than 0, got {text!r}")
    if (end - start) * step < 0:
        raise FormatError(f"{where}: expected a step that leads from {start} to {end}, got {step}")
    if abs(end - start) >= abs(step) * MAX_CELLS:
        raise FormatError(f"{where}: expected at most {MAX_CELLS} values, got more")
    count = int((end - start) / step) + 1
    return tuple(f"{start + index * step:f}" for index in range(count))


def _is_plain(number: Decimal) -> bool:
    """Return whether a number is finite, and has few enough digits to be written out."""
    return number.is_finite() and abs(number.adjusted()) <= MAX_EXPONENT


def _matching(where: str, pattern: Path) -> tuple[str, ...]:
    try:
        files = [path for path in pattern.parent.iterdir() if path.is_file()]
    except (OSError, ValueError) as error:
        raise FormatError(f"{where}: {pattern.parent} cannot be read: {error}") from error
    return tuple(sorted(str(path) for path in files if fnmatchcase(path.name, pattern.name)))


def _from_file(where: str, name: str) -> tuple[str, ...]:
    path, _, column = name.rpartition(":") if ".csv:" in name else (name, "", "")
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            text = stream.read(MAX_LIST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise FormatError(f"{where}: {path} cannot be read: {error}") from error
    if len(text) > MAX_LIST_BYTES:
        raise FormatError(f"{where}: {path}: expected at most {MAX_LIST_BYTES} bytes, got more")
    if not column:
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    rows = csv.DictReader(text.splitlines())
    if column not in (rows.fieldnames or ()):
        known = ", ".join(rows.fieldnames or ())
        raise FormatError(f"{where}: {path}: expected one of the columns {known}, got {column}")
    return tuple(row[column].strip() for row in rows if (row[column] or "").strip())
