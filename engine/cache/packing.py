"""Values to plain trees and arrays of bytes, and back: what the disk tier can keep.

An open table by type, as fingerprints have. What is not in the table cannot be kept, weights above
all; it raises rather than guesses. Reading makes nothing but what the table names, so that an entry
that somebody else wrote can give wrong values and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LatentloomError
from ..node.context import Saved
from ..node.many import Many

MAX_DEPTH = 100


class Array(NamedTuple):
    """Numbers side by side.

    Attributes:
        dtype: as safetensors names it, such as F32.
        data: their bytes, little endian, rows last.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview


ToArray = Callable[[Any], Array]
FromArray = Callable[[Array], Any]


class UnstorableError(LatentloomError):
    """A value, or something in it, that is not in the table."""


class CorruptEntryError(LatentloomError):
    """A tree that no value was packed into."""


class MissingOutputError(CorruptEntryError):
    """Files that an entry stands for are not there as they were."""


def register_array(type_name: str, to_array: ToArray, from_array: FromArray) -> None:
    """Say how values of a type, such as `torch.Tensor`, are written as one array, and read."""
    _ARRAYS[type_name] = (to_array, from_array)


def register_records(*type_names: str) -> None:
    """Keep these frozen dataclasses and NamedTuples, by `module.Class`, field by field."""
    _RECORDS.update(type_names)


def pack(value: Any) -> tuple[Any, list[Array]]:
    """A tree of JSON's types, and the arrays that it refers to.

    Raises:
        UnstorableError: something in the value is not in the table.
    """
    arrays: list[Array] = []
    return _pack(value, arrays, 0), arrays


def unpack(tree: Any, arrays: Sequence[Array]) -> Any:
    """The value that was packed.

    Raises:
        CorruptEntryError: none was.
    """
    try:
        return _unpack(tree, arrays, 0)
    except CorruptEntryError:
        raise
    except Exception as error:
        raise CorruptEntryError(f"an entry holds no value: {error}") from error


_ARRAYS: dict[str, tuple[ToArray, FromArray]] = {}
_RECORDS: set[str] = set()


def _pack(value: Any, arrays: list[Array], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UnstorableError("a value is nested too deeply to be kept")
    if value is None or value is True or value is False or value.__class__ in (int, str):
        return value
    if value.__class__ is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Saved):
        return {"saved": [_stamp(path) for path in value.paths], "text": value.text}
    name = _known(value.__class__)
    if name in _ARRAYS:
        arrays.append(_ARRAYS[name][0](value))
        return {"array": len(arrays) - 1, "of": name}
    if name in _RECORDS:
        return {"record": name, "fields": _pack_mapping(_named(value), arrays, depth)}
    if isinstance(value, tuple | list) and value.__class__ in _SEQUENCES:
        items = [_pack(item, arrays, depth + 1) for item in value]
        return {_SEQUENCES[value.__class__]: items}
    if value.__class__ is dict and all(key.__class__ is str for key in value):
        return {"mapping": _pack_mapping(value, arrays, depth)}
    raise UnstorableError(f"a value of type {value.__class__.__qualname__} is not kept")


def _pack_mapping(items: Mapping[str, Any], arrays: list[Array], depth: int) -> dict[str, Any]:
    return {name: _pack(item, arrays, depth + 1) for name, item in items.items()}


def _unpack(tree: Any, arrays: Sequence[Array], depth: int) -> Any:
    if not isinstance(tree, dict):
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        raise CorruptEntryError("an entry holds a list where none can be")
    if depth > MAX_DEPTH:
        raise CorruptEntryError("an entry is nested too deeply")
    if "float" in tree:
        return float(tree["float"])
    if "saved" in tree:
        return Saved(tuple(_unchanged(*stamp) for stamp in tree["saved"]), str(tree["text"]))
    if "array" in tree:
        return _ARRAYS[tree["of"]][1](arrays[tree["array"]])
    if "record" in tree:
        return _class(tree["record"])(**_unpack_mapping(tree["fields"], arrays, depth))
    if "mapping" in tree:
        return _unpack_mapping(tree["mapping"], arrays, depth)
    ((word, items),) = tree.items()
    kind = next(kind for kind, known in _SEQUENCES.items() if known == word)
    return kind(_unpack(item, arrays, depth + 1) for item in items)


def _unpack_mapping(
    items: Mapping[str, Any], arrays: Sequence[Array], depth: int
) -> dict[str, Any]:
    return {str(name): _unpack(item, arrays, depth + 1) for name, item in items.items()}


_SEQUENCES: dict[type, str] = {tuple: "tuple", list: "list", Many: "many"}


def _known(kind: type) -> str:
    """The name that a type, or one that it is made from, has in the table."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((name for name in names if name in _ARRAYS or name in _RECORDS), "")


def _named(value: Any) -> dict[str, Any]:
    names: Sequence[str] = getattr(value, "_fields", ()) or [each.name for each in fields(value)]
    return {name: getattr(value, name) for name in names}


def _class(name: str) -> Callable[..., Any]:
    if name not in _RECORDS:
        raise CorruptEntryError(f"an entry holds the unknown record {name[:60]!r}")
    module, _, own = name.rpartition(".")
    found: Callable[..., Any] = getattr(import_module(module), own)
    return found


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError as error:
        raise UnstorableError(f"{path.name} is gone already") from error
    return str(path), facts.st_size, facts.st_mtime_ns


def _unchanged(name: str, size: int, changed: int) -> Path:
    """A file that an output node wrote, if nobody has touched it since."""
    path = Path(name)
    try:
        facts = path.stat()
    except OSError as error:
        raise MissingOutputError(f"{path.name} is gone") from error
    if (facts.st_size, facts.st_mtime_ns) != (size, changed):
        raise MissingOutputError(f"{path.name} was changed since")
    return path
