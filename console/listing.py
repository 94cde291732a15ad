"""The installed models, as objects and as a table; from their headers, without their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.registry import Registry
from engine.spec import Port

from .views import table

COLUMNS = ("kind", "name", "family", "precision", "size", "hash", "path")
SHORT_HASH = 10
UNITS = ("B", "kB", "MB", "GB")


def model_objects(registry: Registry) -> list[dict[str, Any]]:
    """What the file ports of the nodes can choose from, each with what it is.

    A model that cannot be read has its reason under `broken`.
    """
    ports = {port.file.kind: port for port in _file_ports(registry) if port.file is not None}
    return [entry for kind in sorted(ports) for entry in _entries(ports[kind])]


def model_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Columns of text."""
    return table(COLUMNS, [_row(model) for model in models])


def _file_ports(registry: Registry) -> Iterator[Port]:
    for spec in registry.values():
        yield from (port for port in spec.inputs if port.file is not None)


def _entries(port: Port) -> Iterator[dict[str, Any]]:
    file = port.file
    if file is None or file.names is None or file.resolve is None or file.describe is None:
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
    shown = {**model, "hash": str(model.get("hash", ""))[:SHORT_HASH]}
    shown["size"] = _size(model["size"]) if "size" in model else ""
    if "broken" in model:
        shown["family"] = f"broken: {model['broken']}"
    return tuple(str(shown.get(column, "")) for column in COLUMNS)


def _size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"
