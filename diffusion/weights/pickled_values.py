"""What the pickles of torch's weight files say: a few of Python's names, written down as records.

Nothing here is imported, called or changed by a file. No torch here.

Source: torch/_utils.py (the functions that make tensors), torch/serialization.py (storages).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

DAMAGED = "its pickle is damaged"
MAX_KEY = 2**60
MAX_SIDES, MAX_ARGUMENTS = 16, 16
STORAGES = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64",
    "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}  # fmt: skip
STORAGE_TYPES = {
    f"torch.{where}{name}Storage": dtype
    for name, dtype in STORAGES.items()
    for where in ("", "cuda.")
} | {"torch.storage.UntypedStorage": "U8", "torch.storage._UntypedStorage": "U8"}
DTYPES = {
    f"torch.{name}": dtype
    for name, dtype in {
        "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
        "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32",
        "uint16": "U16", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
    }.items()
}  # fmt: skip
# What files note beside their weights, of training mostly; none of it is made, or kept.
NOTES = {
    "__builtin__.set", "builtins.set", "torch.Size", "torch.device", "argparse.Namespace",
    "_codecs.encode", "numpy.dtype", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
}  # fmt: skip
PARAMETERS = "torch.nn.modules.container.ParameterDict"


@dataclass(frozen=True, slots=True)
class GlobalName:
    """Something of Python's that a pickle speaks of."""

    text: str


@dataclass(frozen=True, slots=True)
class PickledStorage:
    """Numbers that lie in a row: their type, the key they go by, and how many there are."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor: a window on a storage; offset and strides are counted in its own numbers."""

    dtype: str
    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class IgnoredObject:
    """Something that is not kept."""


class PickledParameters:
    """A module that does nothing but hold parameters by name; its state tells them."""

    held: object = None


class UnsafePickleError(ValueError):
    """A pickle or a file that is no weights; the text says why, after the file's name."""


T = TypeVar("T")


def printable(text: str) -> str:
    """A name from a file, fit for any message."""
    return ascii(text[:100])[1:-1]


def require_type(value: Any, kind: type[T]) -> T:
    """The value, if it is of exactly this kind.

    Raises:
        UnsafePickleError: it is not.
    """
    if type(value) is not kind:
        raise UnsafePickleError(DAMAGED)
    return value


def check_dict_key(key: object) -> None:
    """Containers in containers would be hashed without end; large numbers can hash alike."""
    is_huge = type(key) is int and abs(key) > MAX_KEY
    if is_huge or type(key) not in (str, int, float, bool, type(None), GlobalName):
        raise UnsafePickleError("its pickle has a key that is no name")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> PickledTensor:
    """`torch._utils._rebuild_tensor` and `_v2`, which adds a flag, hooks and marks."""
    if more[2:] not in ((), (None,), ({},)):
        raise UnsafePickleError("it holds a tensor with marks, which is not supported")
    found = require_type(storage, PickledStorage)
    return _window(found.dtype, found, offset, shape, stride)


def _typed_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> PickledTensor:
    """`_rebuild_tensor_v3`: the type comes after the flag and the hooks."""
    name = require_type(more[2], GlobalName).text
    if name not in DTYPES or more[3:] not in ((), (None,), ({},)):
        raise UnsafePickleError(f"it holds a tensor of {printable(name)}, which is not supported")
    return _window(DTYPES[name], require_type(storage, PickledStorage), offset, shape, stride)


def _window(
    dtype: str, storage: PickledStorage, offset: Any, shape: Any, stride: Any
) -> PickledTensor:
    if not len(require_type(shape, tuple)) == len(require_type(stride, tuple)) <= MAX_SIDES:
        raise UnsafePickleError(DAMAGED)
    if any(type(each) is not int or each < 0 for each in (offset, *shape, *stride)):
        raise UnsafePickleError(DAMAGED)
    return PickledTensor(dtype, storage, offset, shape, stride)


def _attributed(function: Any, _kind: Any, arguments: Any, *_: Any) -> PickledTensor:
    """A tensor by one of these functions, that has attributes; they are left out."""
    make = TENSORS.get(require_type(function, GlobalName).text)
    if make is None or len(require_type(arguments, tuple)) > MAX_ARGUMENTS:
        raise UnsafePickleError(DAMAGED)
    return make(*arguments)


def _parameter(tensor: Any, *_: Any) -> PickledTensor:
    return require_type(tensor, PickledTensor)


def _ordered() -> dict[Any, Any]:
    """What it holds is put in by the instructions that follow."""
    return {}


TENSORS: dict[str, Callable[..., PickledTensor]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
CALLS: dict[str, Callable[..., object]] = {
    **TENSORS,
    "torch._tensor._rebuild_from_type_v2": _attributed,
    "collections.OrderedDict": _ordered,
}
