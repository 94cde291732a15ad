"""Safetensors files: names, shapes and positions of their tensors. No torch here."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from ..errors import ModelFileError
from ..families.tensor_info import DTYPE_BYTES, FileHeader, TensorInfo, TensorLocation, row_strides
from .file_cache import cache_while_unchanged

MAX_HEADER_BYTES = 100 * 2**20
MAX_HEADER_KEYS = 500_000
"""Keys in a header: four for each tensor, and those of the metadata."""
HEADERS_CACHED = 4
_STRING_OR_COLON = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|:', re.DOTALL)
# First bytes of other files that carry this extension by mistake or to deceive.
OTHER_FORMATS = {b"PK\x03\x04": "a zip", b"\x80\x02": "a pickle", b"\x80\x04": "a pickle"}


@cache_while_unchanged(maxsize=HEADERS_CACHED)
def read_safetensors(path: Path) -> FileHeader:
    """Read the tensors of a file, checked against the file's size.

    Raises:
        ModelFileError: it is not a complete safetensors file. Nothing is allocated for its
            weights.
    """
    try:
        size = path.stat().st_size
        data = _read_header(path, size)
        _check_count(data)
        header = json.loads(data, object_pairs_hook=_unique)
        if not isinstance(header, dict):
            raise ValueError("its header is not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path.name} is not a safetensors file: {error}") from error
    metadata = header.pop("__metadata__", None)
    entries = {name: _parse_entry(path, name, entry) for name, entry in header.items()}
    begin, end = 8 + len(data), 0
    for start, stop in sorted(span for _, span in entries.values()):
        if start != end:
            raise ModelFileError(f"{path.name}: its tensors overlap or leave gaps")
        end = stop
    if begin + end != size:
        problem = "is cut short" if size < begin + end else "has data after its weights"
        raise ModelFileError(f"{path.name} {problem}: expected {begin + end} bytes, has {size}")
    tensors = {
        name: TensorLocation(info, begin + start, row_strides(info.shape))
        for name, (info, (start, _)) in entries.items()
    }
    items = metadata.items() if isinstance(metadata, dict) else ()
    return FileHeader(tensors, {str(key): str(value) for key, value in items}, data)


def _read_header(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        first = stream.read(8)
        length = int.from_bytes(first, "little")
        if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
            formats = [name for magic, name in OTHER_FORMATS.items() if first.startswith(magic)]
            raise ValueError(f"it is {formats[0]}" if formats else "it is incomplete")
        return stream.read(length)


def _check_count(data: bytes) -> None:
    """Count the keys of a header before a parser makes objects of them."""
    if data.count(b":") <= MAX_HEADER_KEYS:
        return
    keys = 0
    for match in _STRING_OR_COLON.finditer(data):
        keys += match.group() == b":"
        if keys > MAX_HEADER_KEYS:
            raise ValueError(f"its header has more than {MAX_HEADER_KEYS} keys")


def _parse_entry(path: Path, name: str, entry: object) -> tuple[TensorInfo, tuple[int, int]]:
    """Return a tensor of the header, and the span of its bytes after the header."""
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])  # type: ignore[index]
        start, stop = entry["data_offsets"]  # type: ignore[index]
        are_sizes = all(isinstance(side, int) and side >= 0 for side in (*shape, start, stop))
        if are_sizes and stop - start == math.prod(shape) * DTYPE_BYTES[dtype]:
            return TensorInfo(dtype, shape), (start, stop)
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelFileError(f"{path.name}: the header's entry of {name[:60]!r} is invalid")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is given twice")
    return names
