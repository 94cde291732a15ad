"""The header of a safetensors file: names, shapes and types, without the weights. No torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

from .errors import ModelFileError

MOST_HEADER_BYTES = 100 * 2**20
WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class TensorHead(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_heads(path: Path) -> dict[str, TensorHead]:
    """The tensors of a file, checked against its size.

    Raises:
        ModelFileError: it is no whole safetensors file; nothing was allocated for its weights.
    """
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
    header.pop("__metadata__", None)
    spans, heads = [], {}
    for name, entry in header.items():
        heads[name], span = _head(path, name, entry)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ModelFileError(f"{path.name}: its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise ModelFileError(
            f"{path.name} is cut short: wants {end + 8 + length} bytes, has {size}"
        )
    return heads


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
