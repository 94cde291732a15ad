"""Value -> digest. An open table by type; it raises rather than guesses.

Each value is written with a tag of its type and its length, so that `1`, `1.0`, `True` and `"1"`
differ and no two nestings read alike. A type that is not known here is announced by name with
`register`, so that the engine need not import it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Protocol

from ..errors import LatentloomError


class Sink(Protocol):
    """What bytes are written to: a hashlib object."""

    def update(self, data: bytes | memoryview, /) -> None: ...


Feed = Callable[[Any, Sink], None]


class UnknownTypeError(LatentloomError):
    """A value of a type that has no fingerprint."""


def fingerprint(value: Any) -> str:
    """The digest of a value, equal for equal values of equal types.

    Raises:
        UnknownTypeError: the value, or something in it, is of a type that is not in the table.

    >>> len({fingerprint(1), fingerprint(1.0), fingerprint(True), fingerprint("1")})
    4
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    sink = hashlib.sha256()
    feed(value, sink)
    return sink.hexdigest()


def register(type_name: str, feed_value: Feed) -> None:
    """Say how values of a type are written.

    Args:
        type_name: `module.Class`, such as `torch.Tensor`; holds for its subclasses too.
        feed_value: writes all that tells two values apart.
    """
    _BY_NAME[type_name] = feed_value
    _BY_TYPE.clear()
    _BY_TYPE.update(_BUILTIN)


def feed(value: Any, sink: Sink) -> None:
    """Write a value into a hash; see `fingerprint`."""
    kind = value.__class__
    writer = _BY_TYPE.get(kind)
    if writer is None:
        writer = _BY_TYPE[kind] = _find(kind)
    writer(value, sink)


def _find(kind: type) -> Feed:
    for base in kind.__mro__:
        by_name = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if by_name is not None:
            return by_name
    if isinstance(getattr(kind, "fingerprint", None), property):
        return _feed_handle
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return _feed_dataclass
    for base, writer in ((Enum, _feed_enum), (Mapping, _feed_mapping), (tuple, _feed_sequence)):
        if issubclass(kind, base):
            return writer
    raise UnknownTypeError(
        f"a value of type {kind.__module__}.{kind.__qualname__} has no fingerprint; "
        f"register one with engine.cache.fingerprint.register"
    )


def _feed_none(_value: None, sink: Sink) -> None:
    sink.update(b"n;")


def _feed_bool(value: bool, sink: Sink) -> None:
    sink.update(b"b1;" if value else b"b0;")


def _feed_int(value: int, sink: Sink) -> None:
    sink.update(b"i%d;" % value)


def _feed_float(value: float, sink: Sink) -> None:
    sink.update(b"f" + struct.pack(">d", value))


def _feed_str(value: str, sink: Sink) -> None:
    data = value.encode("utf-8", "surrogatepass")
    sink.update(b"s%d:" % len(data) + data)


def _feed_bytes(value: bytes, sink: Sink) -> None:
    sink.update(b"y%d:" % len(value) + value)


def _feed_sequence(value: Any, sink: Sink) -> None:
    sink.update(b"t%d:" % len(value))
    for item in value:
        feed(item, sink)


def _feed_mapping(value: Mapping[Any, Any], sink: Sink) -> None:
    sink.update(b"m%d:" % len(value))
    for key in sorted(value, key=lambda key: (key.__class__.__name__, key)):
        feed(key, sink)
        feed(value[key], sink)


def _feed_enum(value: Enum, sink: Sink) -> None:
    _feed_str(f"{value.__class__.__qualname__}.{value.name}", sink)


def _feed_handle(value: Any, sink: Sink) -> None:
    sink.update(b"h")
    _feed_str(value.__class__.__qualname__, sink)
    _feed_str(value.fingerprint, sink)


def _feed_dataclass(value: Any, sink: Sink) -> None:
    sink.update(b"d")
    _feed_str(value.__class__.__qualname__, sink)
    for field in fields(value):
        feed(getattr(value, field.name), sink)


_BUILTIN: dict[type, Feed] = {
    type(None): _feed_none,
    bool: _feed_bool,
    int: _feed_int,
    float: _feed_float,
    str: _feed_str,
    bytes: _feed_bytes,
    tuple: _feed_sequence,
    list: _feed_sequence,
    dict: _feed_mapping,
}
_BY_TYPE: dict[type, Feed] = dict(_BUILTIN)
_BY_NAME: dict[str, Feed] = {}
