"""Values to JSON trees and arrays of bytes, and back: the form of entries on disk.

Only Python's plain types and those that packs declare are packed; anything else, weights above
all, raises. Unpacking builds only these types, so that a manipulated entry yields wrong values but
runs no code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LatentloomError
from ..node.context import Saved
from ..node.extension import Extension
from ..node.many import Many
from ..node.registry import Registry

MAX_DEPTH = 100
SEQUENCES: dict[type, str] = {tuple: "tuple", list: "list", Many: "many"}


class Array(NamedTuple):
    """A tensor as plain numbers.

    Attributes:
        dtype: as safetensors names it, such as F32.
        data: the numbers in row-major order, little endian.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview


class UnstorableError(LatentloomError):
    """A value, or something in it, of a type that cannot be stored."""


class CorruptEntryError(LatentloomError):
    """A tree that `pack` did not make."""


class MissingOutputError(CorruptEntryError):
    """An output file that an entry refers to is missing or was changed."""


@dataclass(frozen=True)
class ArrayCodec(Extension):
    """Stores the values of a type as one array each.

    Args:
        type_name: `module.Class`, such as `torch.Tensor`; holds for its subclasses too.
        to_array: raises UnstorableError for a value that cannot be stored.
        from_array: raises CorruptEntryError for an array that `to_array` did not make.
    """

    type_name: str
    to_array: Callable[[Any], Array]
    from_array: Callable[[Array], Any]


@dataclass(frozen=True)
class StoredRecords(Extension):
    """Stores frozen dataclasses and NamedTuples, named `module.Class`, field by field."""

    type_names: tuple[str, ...]


class Packer:
    """Packs and unpacks values of Python's plain types and of the types of packs."""

    def __init__(self, arrays: Iterable[ArrayCodec] = (), records: Iterable[str] = ()) -> None:
        self._arrays = {codec.type_name: codec for codec in arrays}
        self._records = frozenset(records)

    @classmethod
    def of(cls, registry: Registry) -> Packer:
        """Return a packer that knows the types of the registry's packs."""
        records = registry.extensions(StoredRecords)
        names = (name for record in records for name in record.type_names)
        return cls(registry.extensions(ArrayCodec), names)

    def pack(self, value: Any) -> tuple[Any, list[Array]]:
        """Return a tree of JSON's types, and the arrays that it refers to by index.

        Raises:
            UnstorableError: something in the value is of an unknown type.
        """
        arrays: list[Array] = []
        return self._pack(value, arrays, 0), arrays

    def unpack(self, tree: Any, arrays: Sequence[Array]) -> Any:
        """Return the value that was packed.

        Raises:
            CorruptEntryError: `pack` did not make this tree.
        """
        try:
            return self._unpack(tree, arrays, 0)
        except CorruptEntryError:
            raise
        except Exception as error:
            raise CorruptEntryError(f"an entry holds no value: {error}") from error

    def _pack(self, value: Any, arrays: list[Array], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise UnstorableError("the value is nested too deeply to be stored")
        if value is None or value is True or value is False or value.__class__ in (int, str):
            return value
        if value.__class__ is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, Saved):
            return {"saved": [_stamp(path) for path in value.paths], "text": value.text}
        name = self._known_name(value.__class__)
        if name in self._arrays:
            arrays.append(self._arrays[name].to_array(value))
            return {"array": len(arrays) - 1, "of": name}
        if name in self._records:
            return {"record": name, "fields": self._pack_mapping(_fields(value), arrays, depth)}
        if isinstance(value, tuple | list) and value.__class__ in SEQUENCES:
            items = [self._pack(item, arrays, depth + 1) for item in value]
            return {SEQUENCES[value.__class__]: items}
        if value.__class__ is dict and all(key.__class__ is str for key in value):
            return {"mapping": self._pack_mapping(value, arrays, depth)}
        raise UnstorableError(f"values of type {value.__class__.__qualname__} cannot be stored")

    def _pack_mapping(
        self, items: Mapping[str, Any], arrays: list[Array], depth: int
    ) -> dict[str, Any]:
        return {name: self._pack(item, arrays, depth + 1) for name, item in items.items()}

    def _unpack(self, tree: Any, arrays: Sequence[Array], depth: int) -> Any:
        if not isinstance(tree, dict):
            if tree is None or isinstance(tree, bool | int | float | str):
                return tree
            raise CorruptEntryError("an entry holds a list in an unexpected position")
        if depth > MAX_DEPTH:
            raise CorruptEntryError("an entry is nested too deeply")
        if "float" in tree:
            return float(tree["float"])
        if "saved" in tree:
            return Saved(tuple(_unchanged(*stamp) for stamp in tree["saved"]), str(tree["text"]))
        if "array" in tree:
            return self._arrays[tree["of"]].from_array(arrays[tree["array"]])
        if "record" in tree:
            return self._class(tree["record"])(
                **self._unpack_mapping(tree["fields"], arrays, depth)
            )
        if "mapping" in tree:
            return self._unpack_mapping(tree["mapping"], arrays, depth)
        ((name, items),) = tree.items()
        kind = next(kind for kind, known in SEQUENCES.items() if known == name)
        return kind(self._unpack(item, arrays, depth + 1) for item in items)

    def _unpack_mapping(
        self, items: Mapping[str, Any], arrays: Sequence[Array], depth: int
    ) -> dict[str, Any]:
        return {str(name): self._unpack(item, arrays, depth + 1) for name, item in items.items()}

    def _known_name(self, kind: type) -> str:
        """Return the declared name of a type or of a base class; empty if neither is declared."""
        names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
        return next((name for name in names if name in self._arrays or name in self._records), "")

    def _class(self, name: str) -> Callable[..., Any]:
        if name not in self._records:
            raise CorruptEntryError(f"an entry holds the unknown record {name[:60]!r}")
        module, _, class_name = name.rpartition(".")
        record: Callable[..., Any] = getattr(import_module(module), class_name)
        return record


def _fields(record: Any) -> dict[str, Any]:
    names: Sequence[str] = getattr(record, "_fields", ()) or [
        field.name for field in fields(record)
    ]
    return {name: getattr(record, name) for name in names}


def _stamp(path: Path) -> tuple[str, int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UnstorableError(f"the output file {path.name} is already gone") from error
    return str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unchanged(name: str, size_bytes: int, modified_ns: int, changed_ns: int) -> Path:
    """Return the path of an output file, if it has not been touched since."""
    path = Path(name)
    try:
        status = path.stat()
    except OSError as error:
        raise MissingOutputError(f"the output file {path.name} is gone") from error
    stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if stamp != (size_bytes, modified_ns, changed_ns):
        raise MissingOutputError(f"the output file {path.name} was changed since")
    return path
