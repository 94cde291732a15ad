"""What a weight file holds: names, shapes and types of its tensors, without the weights. No torch.

The ending says of which kind a file is, and its content has to agree.
"""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import ModelFileError
from .safetensors_file import read_safetensors
from .tensor_info import FileHeader, TensorInfo, row_strides
from .torch_file import TORCH_EXTENSIONS, read_torch

FLOATS = {"F32": "f", "F16": "e", "F64": "d", "BF16": "f"}
MAX_NUMBER_BYTES = 2**20


def read_tensor_infos(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a file, checked against its size.

    Raises:
        ModelFileError: it is no whole weight file; nothing was allocated for its weights.
    """
    return {name: located.info for name, located in _read(path).tensors.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """What a file's maker noted in its header.

    Raises:
        ModelFileError: it is no whole weight file.
    """
    return dict(_read(path).metadata)


def read_header_bytes(path: Path) -> bytes:
    """The header itself.

    Raises:
        ModelFileError: it is no whole weight file.
    """
    return _read(path).data


def read_floats(path: Path, name: str) -> tuple[float, ...]:
    """The numbers of one small tensor of floats.

    Raises:
        ModelFileError: it is no whole weight file, or the tensor no small one of floats.
    """
    located = _read(path).tensors[name]
    dtype, shape = located.info
    is_plain = located.strides == row_strides(shape) and located.span_bytes <= MAX_NUMBER_BYTES
    if dtype not in FLOATS or not is_plain:
        raise ModelFileError(f"{path.name}: {name[:60]!r} is no small tensor of floats")
    with path.open("rb") as stream:
        stream.seek(located.start)
        data = stream.read(located.span_bytes)
    if dtype == "BF16":  # the upper half of a float32
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    letter = FLOATS[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(letter)}{letter}", data)


def _read(path: Path) -> FileHeader:
    return read_torch(path) if path.suffix in TORCH_EXTENSIONS else read_safetensors(path)
