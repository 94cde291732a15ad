"""What the readers of weight files tell of one: its tensors, and where they lie. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# Bytes of a number, by the names that safetensors has for types.
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class TensorInfo(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


class TensorLocation(NamedTuple):
    """A tensor in a file: its first byte, and the strides in numbers."""

    info: TensorInfo
    start: int
    strides: tuple[int, ...]

    @property
    def span_bytes(self) -> int:
        """How many bytes lie from its first to behind its last."""
        if 0 in self.info.shape:
            return 0
        steps = zip(self.info.shape, self.strides, strict=True)
        return (1 + sum((side - 1) * step for side, step in steps)) * DTYPE_BYTES[self.info.dtype]


class FileHeader(NamedTuple):
    """A file without its weights.

    Attributes:
        metadata: its maker's.
        data: the bytes that say all this.
    """

    tensors: Mapping[str, TensorLocation]
    metadata: Mapping[str, str]
    data: bytes


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose rows lie one after another."""
    found, step = [], 1
    for side in reversed(shape):
        found.append(step)
        step *= max(side, 1)
    return tuple(reversed(found))
