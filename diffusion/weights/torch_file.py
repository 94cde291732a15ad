"""Weight files in torch's own forms: names, shapes and places of their tensors. No torch here.

They are read as data: nothing in them is imported or run, and torch.load is never asked.
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
from .file_cache import cache_while_unchanged
from .pickled_values import PickledParameters, PickledTensor, UnsafePickleError, printable
from .tensor_info import DTYPE_BYTES, FileHeader, TensorInfo, TensorLocation
from .torch_container import ByteRange, read_container

TORCH_EXTENSIONS = (".ckpt", ".pt", ".pth", ".bin")
# What the weights are under where a file holds more, the preferred first: Lightning's, ESRGAN's
# averaged and plain ones, and those of textual inversions.
WRAPPERS = ("state_dict", "params_ema", "params", "string_to_param")
MAX_ENTRIES, MAX_NAME, MAX_DEPTH = 100_000, 500, 16
Values = dict[Any, Any]


@cache_while_unchanged(maxsize=4)
def read_torch(path: Path) -> FileHeader:
    """The tensors of a file by name, names of dicts in dicts joined by dots.

    Lists and what is no tensor are left out. It is remembered while its size and time stay, since
    checking, telling the family and loading ask one after another.

    Raises:
        ModelFileError: it is no whole weight file of torch's, or asks for more than weights need;
            nothing was run, and nothing allocated for its weights.
    """
    try:
        said, extents, pickle = read_container(path)
        tensors = {name: _located(name, each, extents) for name, each in _named(said).items()}
    except UnsafePickleError as error:
        raise ModelFileError(f"{path.name} cannot be read safely: {error}") from error
    except (
        OSError, ValueError, LookupError, RuntimeError, EOFError, OverflowError, struct.error,
        BadZipFile,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{path.name} is no whole weight file of torch: {error}") from error
    return FileHeader(tensors, {}, pickle)


def _named(said: object) -> dict[str, PickledTensor]:
    """Each tensor by its name."""
    found: dict[str, PickledTensor] = {}
    seen = count(1)

    def walk(prefix: str, values: Values, depth: int) -> None:
        for key, value in values.items():
            if next(seen) > MAX_ENTRIES or depth > MAX_DEPTH:
                raise UnsafePickleError("it holds more than any model")
            if type(key) not in (str, int):
                continue
            if type(key) is str and len(prefix) + len(key) > MAX_NAME:
                raise UnsafePickleError(
                    f"the name {printable(prefix + key[:MAX_NAME])} is too long"
                )
            inner = _values(value)
            if inner is not None:
                walk(f"{prefix}{key}.", inner, depth + 1)
            elif type(value) is PickledTensor:
                name = f"{prefix}{key}"
                name.encode()
                if name in found:
                    raise UnsafePickleError(f"the name {printable(name)} is given twice")
                found[name] = value

    values = _values(said)
    if values is None:
        raise UnsafePickleError("it holds no tensors with names")
    walk("", _unwrapped(values), 1)
    return found


def _values(value: object) -> Values | None:
    """What a dict or a module of parameters holds."""
    held = value.held if type(value) is PickledParameters else value
    return held if type(held) is dict else None


def _unwrapped(values: Values) -> Values:
    """The weights alone: under a known name, or under the only one."""
    wrappers = [*WRAPPERS, *values] if len(values) == 1 else WRAPPERS
    inner = (_values(values.get(wrapper)) for wrapper in wrappers)
    return next((each for each in inner if each), values)


def _located(name: str, tensor: PickledTensor, extents: Mapping[str, ByteRange]) -> TensorLocation:
    """Where a tensor lies, inside of its storage."""
    storage, extent = tensor.storage, extents[tensor.storage.key]
    if extent.size != storage.count * DTYPE_BYTES[storage.dtype]:
        raise UnsafePickleError(f"the storage of {printable(name)} is cut short")
    head = TensorInfo(tensor.dtype, tensor.shape)
    width = DTYPE_BYTES[head.dtype]
    located = TensorLocation(head, extent.start + tensor.offset * width, tensor.stride)
    if math.prod(head.shape) * width > extent.size:
        raise UnsafePickleError(f"{printable(name)} is larger than what is stored of it")
    if located.start + located.span_bytes > extent.start + extent.size:
        raise UnsafePickleError(f"{printable(name)} lies outside of its storage")
    return located
