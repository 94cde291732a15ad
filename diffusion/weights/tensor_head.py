"""What the readers of weight files tell of one: its tensors, and where they lie. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# Bytes of a number, by the names that safetensors has for types.
WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class TensorHead(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


class Located(NamedTuple):
    """A tensor in a file: its first byte, and the strides in numbers."""

    head: TensorHead
    start: int
    stride: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many bytes lie from its first to behind its last."""
        if 0 in self.head.shape:
            return 0
        steps = zip(self.head.shape, self.stride, strict=True)
        return (1 + sum((side - 1) * step for side, step in steps)) * WIDTHS[self.head.dtype]


class FileHead(NamedTuple):
    """A file without its weights.

    Attributes:
        notes: its maker's.
        header: the bytes that say all this.
    """

    tensors: Mapping[str, Located]
    notes: Mapping[str, str]
    header: bytes


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose rows lie one after another."""
    found, step = [], 1
    for side in reversed(shape):
        found.append(step)
        step *= max(side, 1)
    return tuple(reversed(found))
