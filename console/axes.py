"""The axes of a sweep as they are written on the command line."""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path

from latentloom.engine.errors import FormatError
from latentloom.engine.graph.axes import Axis, ValueRange
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.registry import Registry

from .changes import read_change

MAX_LIST_BYTES = 2**20


def parse_axis(name: str, text: str, graph: Graph, registry: Registry) -> Axis:
    """Read an axis of values, each as the input takes it.

    Raises:
        FormatError: the values cannot be read, or a value is not one of the input.
        GraphError: there is no such input or node.
    """
    texts, values, files = parse_values(f"--over {name}", text), [], set[Path]()
    for item in texts:
        value, granted = read_change(graph, registry, name, item)
        values.append(value)
        files |= granted
    return Axis(name, tuple(values), texts, files=frozenset(files))


def parse_replacement(name: str, text: str) -> Axis:
    """Read `prompt:house=castle,barn`: an axis of texts in place of one in a prompt.

    Raises:
        FormatError: it names no text to replace.
    """
    target, colon, searched = name.partition(":")
    if not colon or not target or not searched:
        raise FormatError(f"--replace: expected INPUT:TEXT=VALUES, got {name}={text}")
    return Axis(target, parse_values(f"--replace {name}", text), searched=searched)


def parse_values(where: str, text: str) -> tuple[str, ...]:
    """Read the values of an axis as texts.

    Args:
        text: `0.3:0.8:0.1` from, to and step; `a,b,"c, d"` a list; `@prompts.txt` the lines of a
            file; `@table.csv:column` a column; `photos/*.png` the files that match.

    Raises:
        FormatError: it has none of these forms, or names a file that cannot be read.
    """
    if text.startswith("@"):
        return _from_file(where, text[1:])
    numbers = _parse_range(where, text)
    if numbers is not None:
        return numbers
    if "*" in text and "," not in text:
        return _matching(where, Path(text))
    try:
        rows = list(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise FormatError(f"{where}: expected a list with commas, got {text[:60]!r}") from error
    return tuple(value.strip() for value in rows[0]) if rows else ()


def _parse_range(where: str, text: str) -> tuple[str, ...] | None:
    """Return the numbers of `from:to` or `from:to:step`, both ends included; else None."""
    parts = text.split(":")
    if len(parts) not in (2, 3):
        return None
    try:
        start, end, *rest = map(Decimal, parts)
    except InvalidOperation:
        return None
    return ValueRange(start, end, rest[0] if rest else Decimal(1)).texts(where)


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
