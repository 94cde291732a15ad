"""The metadata of GGUF files, llama.cpp's format for weights. No torch here.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from ..errors import ModelFileError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_VALUES = 4096
MAX_ITEMS = 2**20
MAX_METADATA_BYTES = 2**27
# struct's letters of the types of numbers; 8 is a string, 9 an array.
NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
STRING, ARRAY = 8, 9

GgufValue = int | float | bool | str | list[int | float | bool | str]


def read_gguf_values(path: Path) -> dict[str, GgufValue]:
    """Return the metadata of a GGUF file by key.

    Raises:
        ModelFileError: it is not a GGUF file, or its metadata is damaged or too large.
    """
    try:
        with path.open("rb") as stream:
            return _Reader(stream, path.name).read()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error


class _Reader:
    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name, self._left_bytes = stream, name, MAX_METADATA_BYTES

    def read(self) -> dict[str, GgufValue]:
        if self._take(4) != MAGIC:
            raise self._error("not a GGUF file")
        (version,), _, count = self._unpack("I"), self._unpack("Q"), self._count(MAX_VALUES)
        if version not in VERSIONS:
            raise self._error(f"version {version} of GGUF is not supported")
        values: dict[str, GgufValue] = {}
        for _ in range(count):
            key = self._string()
            kind = int(self._unpack("I")[0])
            values[key] = self._array() if kind == ARRAY else self._scalars(kind, 1)[0]
        return values

    def _array(self) -> list[int | float | bool | str]:
        kind = int(self._unpack("I")[0])
        return self._scalars(kind, self._count(MAX_ITEMS))

    def _scalars(self, kind: int, count: int) -> list[int | float | bool | str]:
        if kind == STRING:
            return [self._string() for _ in range(count)]
        if kind not in NUMBERS:
            raise self._error(f"values of type {kind} are not supported")
        return [*self._unpack(f"{count}{NUMBERS[kind]}")]

    def _string(self) -> str:
        return self._take(self._count(self._left_bytes)).decode("utf-8", "replace")

    def _count(self, limit: int) -> int:
        (count,) = self._unpack("Q")
        if count > limit:
            raise self._error(f"expected at most {limit} values or bytes, got {count}")
        return int(count)

    def _unpack(self, form: str) -> tuple[int | float | bool, ...]:
        form = f"<{form}"
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _take(self, size: int) -> bytes:
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise self._error(f"its metadata has more than {MAX_METADATA_BYTES} bytes")
        data = self._stream.read(size)
        if len(data) != size:
            raise self._error("it ends within its metadata")
        return data

    def _error(self, problem: str) -> ModelFileError:
        return ModelFileError(f"{self._name}: {problem}")
