"""Safetensors files: names, shapes and places of their tensors, without the weights. No torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..errors import ModelFileError
from .tensor_info import DTYPE_BYTES, FileHeader, TensorInfo, TensorLocation, row_strides

MAX_HEADER_BYTES = 100 * 2**20
# What other files begin with that are named so by mistake, or to deceive.
OTHERS = {b"PK\x03\x04": "a zip", b"\x80\x02": "a pickle", b"\x80\x04": "a pickle"}


def read_safetensors(path: Path) -> FileHeader:
    """The tensors of a file, checked against its size.

    Raises:
        ModelFileError: it is no whole safetensors file; nothing was allocated for its weights.
    """
    try:
        size = path.stat().st_size
        data = _header(path, size)
        header = json.loads(data, object_pairs_hook=_unique)
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path.name} is no safetensors file: {error}") from error
    notes = header.pop("__metadata__", None)
    found = {name: _head(path, name, entry) for name, entry in header.items()}
    begin, end = 8 + len(data), 0
    for start, stop in sorted(span for _, span in found.values()):
        if start != end:
            raise ModelFileError(f"{path.name}: its tensors overlap or leave gaps")
        end = stop
    if begin + end != size:
        wrong = "is cut short" if size < begin + end else "has something behind its weights"
        raise ModelFileError(f"{path.name} {wrong}: expected {begin + end} bytes, has {size}")
    tensors = {
        name: TensorLocation(head, begin + start, row_strides(head.shape))
        for name, (head, (start, _)) in found.items()
    }
    metadata = notes if isinstance(notes, dict) else {}
    return FileHeader(tensors, {str(key): str(value) for key, value in metadata.items()}, data)


def _header(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        first = stream.read(8)
        length = int.from_bytes(first, "little")
        if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
            others = [other for mark, other in OTHERS.items() if first.startswith(mark)]
            raise ValueError(f"it is {others[0]}" if others else "it is not whole")
        return stream.read(length)


def _head(path: Path, name: str, entry: object) -> tuple[TensorInfo, tuple[int, int]]:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])  # type: ignore[index]
        start, stop = entry["data_offsets"]  # type: ignore[index]
        sound = all(isinstance(side, int) and side >= 0 for side in (*shape, start, stop))
        if sound and stop - start == math.prod(shape) * DTYPE_BYTES[dtype]:
            return TensorInfo(dtype, shape), (start, stop)
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelFileError(f"{path.name}: the header's entry of {name[:60]!r} is wrong")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found
