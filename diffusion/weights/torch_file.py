"""Weight files in torch format: names, shapes and positions of their tensors. No torch here.

They are read as data: nothing in them is imported or run, and `torch.load` is never called.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ..errors import ModelFileError
from ..families.tensor_info import DTYPE_BYTES, FileHeader, TensorInfo, TensorLocation
from .file_cache import cache_while_unchanged
from .pickled_values import PickledParameters, PickledTensor, UnsafePickleError, printable
from .torch_container import ByteRange, read_container

TORCH_EXTENSIONS = (".ckpt", ".pt", ".pth", ".bin")
# Names of the weights in files that hold more, the preferred first: Lightning's, ESRGAN's
# averaged and plain ones, and those of textual inversions.
WRAPPERS = ("state_dict", "params_ema", "params", "string_to_param")
MAX_ENTRIES, MAX_NAME_LENGTH, MAX_DEPTH = 100_000, 500, 16
Values = dict[Any, Any]


@cache_while_unchanged(maxsize=4)
def read_torch(path: Path) -> FileHeader:
    """Read the tensors of a file by name; names in nested dicts are joined by dots.

    Lists and values that are not tensors are left out. The result is cached, since checking,
    detecting the family and loading ask for it one after another.

    Raises:
        ModelFileError: it is not a complete torch weight file, or does more than weights need.
            Nothing in it is run, and nothing is allocated for its weights.
    """
    try:
        value, storages, pickle = read_container(path)
        tensors = {
            name: _locate(name, tensor, storages) for name, tensor in _name_tensors(value).items()
        }
    except UnsafePickleError as error:
        raise ModelFileError(f"{path.name} cannot be read safely: {error}") from error
    except (
        OSError, ValueError, LookupError, RuntimeError, EOFError, OverflowError, struct.error,
        BadZipFile,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{path.name} is not a complete torch weight file: {error}") from error
    return FileHeader(tensors, {}, pickle)


def _name_tensors(content: object) -> dict[str, PickledTensor]:
    """Return each tensor of a pickle by its name."""
    tensors: dict[str, PickledTensor] = {}
    entries = count(1)

    def walk(prefix: str, values: Values, depth: int) -> None:
        for key, value in values.items():
            if next(entries) > MAX_ENTRIES or depth > MAX_DEPTH:
                raise UnsafePickleError("it has more entries than any model")
            if type(key) not in (str, int):
                continue
            if type(key) is str and len(prefix) + len(key) > MAX_NAME_LENGTH:
                start = printable(prefix + key[:MAX_NAME_LENGTH])
                raise UnsafePickleError(f"the name {start} is too long")
            inner = _dict_of(value)
            if inner is not None:
                walk(f"{prefix}{key}.", inner, depth + 1)
            elif type(value) is PickledTensor:
                name = f"{prefix}{key}"
                name.encode()  # raises on lone surrogates
                if name in tensors:
                    raise UnsafePickleError(f"the name {printable(name)} is given twice")
                tensors[name] = value

    values = _dict_of(content)
    if values is None:
        raise UnsafePickleError("it holds no tensors with names")
    walk("", _unwrap(values), 1)
    return tensors


def _dict_of(value: object) -> Values | None:
    """Return the content of a dict or of a module of parameters."""
    content = value.content if type(value) is PickledParameters else value
    return content if type(content) is dict else None


def _unwrap(values: Values) -> Values:
    """Return the weights alone: under a known name, or under the only one."""
    wrappers = [*WRAPPERS, *values] if len(values) == 1 else WRAPPERS
    candidates = (_dict_of(values.get(wrapper)) for wrapper in wrappers)
    return next((weights for weights in candidates if weights), values)


def _locate(name: str, tensor: PickledTensor, storages: Mapping[str, ByteRange]) -> TensorLocation:
    """Return the location of a tensor, which must lie inside its storage."""
    storage, span = tensor.storage, storages[tensor.storage.key]
    if span.size != storage.count * DTYPE_BYTES[storage.dtype]:
        raise UnsafePickleError(f"the storage of {printable(name)} is cut short")
    info = TensorInfo(tensor.dtype, tensor.shape)
    number_bytes = DTYPE_BYTES[info.dtype]
    location = TensorLocation(info, span.start + tensor.offset * number_bytes, tensor.strides)
    if math.prod(info.shape) * number_bytes > span.size:
        raise UnsafePickleError(f"{printable(name)} is larger than its storage")
    if location.start + location.span_bytes > span.start + span.size:
        raise UnsafePickleError(f"{printable(name)} reaches outside its storage")
    return location
