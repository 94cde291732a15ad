"""The installed models as objects and as a table, from their headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latentloom.engine.node.ports import File
from latentloom.engine.node.registry import Registry

from .views import format_table

COLUMNS = ("kind", "name", "family", "precision", "size", "hash", "path")
SHORT_HASH = 10
UNITS = ("B", "kB", "MB", "GB")


def model_objects(registry: Registry) -> list[dict[str, Any]]:
    """Return every model that an input of a node can name.

    A model that cannot be read has the reason under `broken`.
    """
    files = {
        file.kind: file
        for spec in registry.values()
        for port in spec.inputs
        for file in port.file_kinds
    }
    return [entry for kind in sorted(files) for entry in _entries(files[kind])]


def model_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Return the models as a table."""
    return format_table(COLUMNS, [_row(model) for model in models])


def _entries(file: File) -> Iterator[dict[str, Any]]:
    if file.names is None or file.resolve is None or file.describe is None:
        return
    for name in file.names():
        entry: dict[str, Any] = {"kind": file.kind, "name": name}
        try:
            path = file.resolve(name)
            entry["path"] = str(path)
            entry |= file.describe(path)
        except (LookupError, ValueError, OSError) as error:
            entry["broken"] = str(error)
        yield entry


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    cells = {**model, "hash": str(model.get("hash", ""))[:SHORT_HASH]}
    cells["size"] = _size(model["size"]) if "size" in model else ""
    if "broken" in model:
        cells["family"] = f"broken: {model['broken']}"
    return tuple(str(cells.get(column, "")) for column in COLUMNS)


def _size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"
