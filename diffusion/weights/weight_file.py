"""Memory-mapped weights of files whose formats cannot run code, whatever they contain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..errors import ModelFileError
from ..families.tensor_info import DTYPE_BYTES
from .torch_file import TORCH_EXTENSIONS, read_torch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


class WeightFile(Protocol):
    """An open weight file."""

    def keys(self) -> Iterable[str]:
        """Return the names of its tensors."""

    def get_tensor(self, name: str) -> Tensor:
        """Return one of its tensors; writing to it does not change the file."""


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a file whose tensors are read when they are asked for.

    Raises:
        ModelFileError: it is not a complete weight file.
    """
    if path.suffix.lower() in TORCH_EXTENSIONS:
        yield _TorchWeights(path)
        return
    from safetensors import SafetensorError, safe_open

    try:
        opened = safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error
    with opened as file:
        yield file


def load_weights(path: Path) -> dict[str, Tensor]:
    """Load all tensors of a file.

    Raises:
        ModelFileError: it is not a complete weight file.
    """
    with open_weights(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


class _TorchWeights:
    """An open file in torch format."""

    def __init__(self, path: Path) -> None:
        self._tensors = read_torch(path).tensors
        try:
            size = path.stat().st_size
            self._bytes = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
        except (OSError, RuntimeError) as error:
            raise ModelFileError(f"{path.name} cannot be mapped: {error}") from error

    def keys(self) -> Iterable[str]:
        return self._tensors.keys()

    def get_tensor(self, name: str) -> Tensor:
        (dtype, shape), start, strides = location = self._tensors[name]
        window = self._bytes[start : start + location.span_bytes]
        if start % DTYPE_BYTES[dtype]:  # legacy files do not align their storages
            window = window.clone()
        return torch.empty(0, dtype=DTYPES[dtype]).set_(window, 0, shape, strides)
