"""The header of a weight file: names, shapes and dtypes of its tensors. No torch here.

The extension selects the format, and the content has to match it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import ModelFileError
from ..families.tensor_info import FileHeader, TensorInfo, row_strides
from ..images.stand_ins import LENGTH, name_stand_in
from .safetensors_file import read_safetensors
from .torch_file import TORCH_EXTENSIONS, read_torch

FLOAT_FORMATS = {"F32": "f", "F16": "e", "F64": "d", "BF16": "f"}
MAX_FLOATS_BYTES = 2**20


def read_tensor_infos(path: Path) -> dict[str, TensorInfo]:
    """Read the names, dtypes and shapes of a file's tensors, checked against the file's size.

    Raises:
        ModelFileError: it is not a complete weight file. Nothing is allocated for its weights.
    """
    return {name: location.info for name, location in _read(path).tensors.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata that a file's author put into its header.

    Raises:
        ModelFileError: it is not a complete weight file.
    """
    return dict(_read(path).metadata)


def read_header_bytes(path: Path) -> bytes:
    """Read the header as bytes.

    Raises:
        ModelFileError: it is not a complete weight file.
    """
    return _read(path).data


def read_floats(path: Path, name: str) -> tuple[float, ...]:
    """Read the numbers of one small tensor of floats.

    Raises:
        ModelFileError: the file is not a complete weight file, or the tensor is of another dtype
            or larger than MAX_FLOATS_BYTES.
    """
    location = _read(path).tensors[name]
    dtype, shape = location.info
    is_contiguous = location.strides == row_strides(shape)
    is_small = location.span_bytes <= MAX_FLOATS_BYTES
    if dtype not in FLOAT_FORMATS or not (is_contiguous and is_small):
        raise ModelFileError(f"{path.name}: {name[:60]!r} is not a small tensor of floats")
    with path.open("rb") as stream:
        stream.seek(location.start)
        data = stream.read(location.span_bytes)
    if dtype == "BF16":  # the upper half of a float32
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    letter = FLOAT_FORMATS[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(letter)}{letter}", data)


def _read(path: Path) -> FileHeader:
    try:
        is_torch = path.suffix.lower() in TORCH_EXTENSIONS
        return read_torch(path) if is_torch else read_safetensors(path)
    except ModelFileError as error:
        if stand_in := _name_stand_in(path):
            what, hint = stand_in
            raise ModelFileError(f"{path.name} is {what}, not the weights; {hint}") from error
        raise


def _name_stand_in(path: Path) -> tuple[str, str] | None:
    try:
        with path.open("rb") as stream:
            return name_stand_in(stream.read(LENGTH))
    except OSError:
        return None
