"""Records of a weight file without its weights: tensors and their positions. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# Bytes of one number, by safetensors' names of dtypes.
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class TensorInfo(NamedTuple):
    """A tensor's dtype, by safetensors' name, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class TensorLocation(NamedTuple):
    """A tensor in a file.

    Attributes:
        start: offset of its first byte in the file.
        strides: of each axis, in numbers.
    """

    info: TensorInfo
    start: int
    strides: tuple[int, ...]

    @property
    def span_bytes(self) -> int:
        """Bytes from its first number to its last, both included."""
        if 0 in self.info.shape:
            return 0
        steps = zip(self.info.shape, self.strides, strict=True)
        return (1 + sum((side - 1) * step for side, step in steps)) * DTYPE_BYTES[self.info.dtype]


class FileHeader(NamedTuple):
    """A weight file without its weights.

    Attributes:
        metadata: notes of the program that wrote it.
        data: the bytes that describe the tensors: a safetensors header or a pickle.
    """

    tensors: Mapping[str, TensorLocation]
    metadata: Mapping[str, str]
    data: bytes


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in numbers, of a contiguous tensor of this shape."""
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= max(side, 1)
    return tuple(reversed(strides))
