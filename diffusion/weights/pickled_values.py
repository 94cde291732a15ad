"""Records for the tensors, storages and names in the pickles of torch's weight files.

A file cannot make anything here import, call or change something. No torch here.

Source: torch/_utils.py (the functions that make tensors), torch/serialization.py (storages).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_INTEGER_KEY = 2**60
MAX_DIMENSIONS, MAX_ARGUMENTS = 16, 16
STORAGES = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64",
    "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}  # fmt: skip
STORAGE_TYPES = {
    f"torch.{module}{name}Storage": dtype
    for name, dtype in STORAGES.items()
    for module in ("", "cuda.")
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
# Objects that files hold next to their weights, mostly about training. They are never created.
IGNORED_NAMES = {
    "__builtin__.set", "builtins.set", "torch.Size", "torch.device", "argparse.Namespace",
    "_codecs.encode", "numpy.dtype", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
}  # fmt: skip
PARAMETERS = "torch.nn.modules.container.ParameterDict"


@dataclass(frozen=True, slots=True)
class GlobalName:
    """A function or class that a pickle names; it stays a name."""

    text: str


@dataclass(frozen=True, slots=True)
class PickledStorage:
    """The numbers that tensors are views of: their dtype, the key of the storage, their count."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor as a view of a storage; the offset and the strides count numbers of its dtype."""

    dtype: str
    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class IgnoredObject:
    """An object of IGNORED_NAMES, without its content."""


class PickledParameters:
    """A torch ParameterDict: `content` is the dict of its parameters once its state was read."""

    content: object = None


class UnsafePickleError(ValueError):
    """A file that holds more than weights; the message follows the file's name."""


class DamagedPickleError(UnsafePickleError):
    """A pickle that does not fit together."""

    def __init__(self) -> None:
        super().__init__("its pickle is damaged")


T = TypeVar("T")


def printable(text: str) -> str:
    """Return a name from a file as short ASCII, safe in any message."""
    return ascii(text[:100])[1:-1]


def require_type(value: Any, kind: type[T]) -> T:
    """Return the value if its type is exactly `kind`.

    Raises:
        DamagedPickleError: it is of another type.
    """
    if type(value) is not kind:
        raise DamagedPickleError
    return value


def check_dict_key(key: object) -> None:
    """Refuse keys of a dict that are slow to hash: nested tuples, and integers that collide.

    Raises:
        UnsafePickleError: the key is one of these.
    """
    is_too_large = type(key) is int and abs(key) > MAX_INTEGER_KEY
    if is_too_large or type(key) not in (str, int, float, bool, type(None), GlobalName):
        raise UnsafePickleError("its pickle has a dict key that is not a name")


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *more: Any
) -> PickledTensor:
    """Stand in for `torch._utils._rebuild_tensor` and `_v2`, which adds flag, hooks, metadata."""
    if more[2:] not in ((), (None,), ({},)):
        raise UnsafePickleError("it holds a tensor with metadata, which is not supported")
    base = require_type(storage, PickledStorage)
    return _view(base.dtype, base, offset, shape, strides)


def _rebuild_typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *more: Any
) -> PickledTensor:
    """Stand in for `_rebuild_tensor_v3`: the dtype follows the flag and the hooks."""
    name = require_type(more[2], GlobalName).text
    if name not in DTYPES or more[3:] not in ((), (None,), ({},)):
        raise UnsafePickleError(f"it holds a tensor of {printable(name)}, which is not supported")
    return _view(DTYPES[name], require_type(storage, PickledStorage), offset, shape, strides)


def _view(
    dtype: str, storage: PickledStorage, offset: Any, shape: Any, strides: Any
) -> PickledTensor:
    if not len(require_type(shape, tuple)) == len(require_type(strides, tuple)) <= MAX_DIMENSIONS:
        raise DamagedPickleError
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *strides)):
        raise DamagedPickleError
    return PickledTensor(dtype, storage, offset, shape, strides)


def _rebuild_from_type(function: Any, _kind: Any, arguments: Any, *_: Any) -> PickledTensor:
    """Return the tensor of a function of REBUILDERS, without the attributes it should get."""
    rebuild = REBUILDERS.get(require_type(function, GlobalName).text)
    if rebuild is None or len(require_type(arguments, tuple)) > MAX_ARGUMENTS:
        raise DamagedPickleError
    return rebuild(*arguments)


def _rebuild_parameter(tensor: Any, *_: Any) -> PickledTensor:
    return require_type(tensor, PickledTensor)


def _make_ordered_dict() -> dict[Any, Any]:
    """Return an empty dict; the instructions that follow fill it."""
    return {}


REBUILDERS: dict[str, Callable[..., PickledTensor]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
CALLABLES: dict[str, Callable[..., object]] = {
    **REBUILDERS,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "collections.OrderedDict": _make_ordered_dict,
}
