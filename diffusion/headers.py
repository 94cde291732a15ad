"""The header of a safetensors file: names, shapes and types, without the weights. No torch."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import NamedTuple

from .errors import ModelFileError

MOST_HEADER_BYTES = 100 * 2**20
WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
FLOATS = {"F32": "f", "F16": "e", "F64": "d", "BF16": "f"}
MOST_NUMBER_BYTES = 2**20


class TensorHead(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


Spans = dict[str, tuple[TensorHead, tuple[int, int]]]


def read_heads(path: Path) -> dict[str, TensorHead]:
    """The tensors of a file, checked against its size.

    Raises:
        ModelFileError: it is no whole safetensors file; nothing was allocated for its weights.
    """
    return {name: head for name, (head, _) in _read(path)[1].items()}


def read_metadata(path: Path) -> dict[str, str]:
    """What a file's maker noted in its header.

    Raises:
        ModelFileError: it is no whole safetensors file.
    """
    return _read(path)[0]


def header_bytes(path: Path) -> bytes:
    """The header itself.

    Raises:
        ModelFileError: it is no whole safetensors file.
    """
    _read(path)
    with path.open("rb") as stream:
        return stream.read(int.from_bytes(stream.read(8), "little"))


def read_numbers(path: Path, name: str) -> tuple[float, ...]:
    """The numbers of one small tensor of floats.

    Raises:
        ModelFileError: it is no whole safetensors file, or the tensor no small one of floats.
    """
    head, (start, stop) = _read(path)[1][name]
    if head.dtype not in FLOATS or stop - start > MOST_NUMBER_BYTES:
        raise ModelFileError(f"{path.name}: {name[:60]!r} is no small tensor of floats")
    with path.open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little") + start)
        data = stream.read(stop - start)
    if head.dtype == "BF16":  # the upper half of a float32
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    letter = FLOATS[head.dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(letter)}{letter}", data)


def _read(path: Path) -> tuple[dict[str, str], Spans]:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 10 or length > min(size - 8, MOST_HEADER_BYTES):
                raise ModelFileError(f"{path.name} is no whole safetensors file")
            header = json.loads(stream.read(length), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path.name} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path.name} is no safetensors file: its header is no object")
    notes = header.pop("__metadata__", None)
    found: Spans = {name: _head(path, name, entry) for name, entry in header.items()}
    end = 0
    for start, stop in sorted(span for _, span in found.values()):
        if start != end:
            raise ModelFileError(f"{path.name}: its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise ModelFileError(
            f"{path.name} is cut short: wants {end + 8 + length} bytes, has {size}"
        )
    metadata = notes if isinstance(notes, dict) else {}
    return {str(key): str(value) for key, value in metadata.items()}, found


def _head(path: Path, name: str, entry: object) -> tuple[TensorHead, tuple[int, int]]:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])  # type: ignore[index]
        start, stop = entry["data_offsets"]  # type: ignore[index]
        sound = all(isinstance(side, int) and side >= 0 for side in (*shape, start, stop))
        if sound and stop - start == math.prod(shape) * WIDTHS[dtype]:
            return TensorHead(dtype, shape), (start, stop)
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelFileError(f"{path.name}: the header's entry of {name[:60]!r} is wrong")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found
