"""Value -> digest, by type. A type that is not known raises: nothing is guessed.

Each value is written with a tag of its type and its length, so that `1`, `1.0`, `True` and `"1"`
differ and no two nestings read alike. Packs declare further types by name with TypeFingerprint,
so that the engine need not import them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Protocol

from ..errors import LatentloomError
from ..node.extension import Extension
from ..node.registry import Registry


class Sink(Protocol):
    """Takes the bytes to be hashed: a hashlib object."""

    def update(self, data: bytes | memoryview, /) -> None: ...


Feed = Callable[[Any, Sink], None]


class UnknownTypeError(LatentloomError):
    """A value of a type that has no fingerprint."""


@dataclass(frozen=True)
class TypeFingerprint(Extension):
    """Fingerprints the values of a type.

    Args:
        type_name: `module.Class`, such as `torch.Tensor`; holds for its subclasses too.
        feed: writes everything in which two values can differ.
    """

    type_name: str
    feed: Feed


class Fingerprinter:
    """Fingerprints values: Python's own types, frozen dataclasses, and types of packs.

    A class with a property `fingerprint` supplies its own.
    """

    def __init__(self, types: Iterable[TypeFingerprint] = ()) -> None:
        self._by_name = {entry.type_name: entry.feed for entry in types}
        # Found once for each type; Python's own types come first.
        self._by_type: dict[type, Feed] = {
            type(None): _feed_none,
            bool: _feed_bool,
            int: _feed_int,
            float: _feed_float,
            str: _feed_str,
            bytes: _feed_bytes,
            tuple: self._feed_sequence,
            list: self._feed_sequence,
            dict: self._feed_mapping,
        }

    @classmethod
    def of(cls, registry: Registry) -> Fingerprinter:
        """Return a fingerprinter that knows the types of the registry's packs."""
        return cls(registry.extensions(TypeFingerprint))

    def fingerprint(self, value: Any) -> str:
        """Return the digest of a value, equal for equal values of equal types.

        Raises:
            UnknownTypeError: the value, or something in it, is of an unknown type.

        >>> digest = Fingerprinter().fingerprint
        >>> len({digest(1), digest(1.0), digest(True), digest("1")})
        4
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
        """
        sink = hashlib.sha256()
        self.feed(value, sink)
        return sink.hexdigest()

    def feed(self, value: Any, sink: Sink) -> None:
        """Write a value into a hash; see `fingerprint`."""
        kind = value.__class__
        feed = self._by_type.get(kind)
        if feed is None:
            feed = self._by_type[kind] = self._find(kind)
        feed(value, sink)

    def _find(self, kind: type) -> Feed:
        for base in kind.__mro__:
            by_name = self._by_name.get(f"{base.__module__}.{base.__qualname__}")
            if by_name is not None:
                return by_name
        if isinstance(getattr(kind, "fingerprint", None), property):
            return _feed_handle
        if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            return self._feed_dataclass
        if issubclass(kind, Enum):
            return _feed_enum
        if issubclass(kind, Mapping):
            return self._feed_mapping
        if issubclass(kind, tuple):
            return self._feed_sequence
        raise UnknownTypeError(
            f"a value of type {kind.__module__}.{kind.__qualname__} has no fingerprint; "
            f"declare one with latentloom.engine.cache.fingerprint.TypeFingerprint"
        )

    def _feed_sequence(self, value: Any, sink: Sink) -> None:
        sink.update(b"t%d:" % len(value))
        for item in value:
            self.feed(item, sink)

    def _feed_mapping(self, value: Mapping[Any, Any], sink: Sink) -> None:
        sink.update(b"m%d:" % len(value))
        for key in sorted(value, key=lambda key: (key.__class__.__name__, key)):
            self.feed(key, sink)
            self.feed(value[key], sink)

    def _feed_dataclass(self, value: Any, sink: Sink) -> None:
        sink.update(b"d")
        _feed_str(value.__class__.__qualname__, sink)
        for field in fields(value):
            self.feed(getattr(value, field.name), sink)


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


def _feed_enum(value: Enum, sink: Sink) -> None:
    _feed_str(f"{value.__class__.__qualname__}.{value.name}", sink)


def _feed_handle(value: Any, sink: Sink) -> None:
    sink.update(b"h")
    _feed_str(value.__class__.__qualname__, sink)
    _feed_str(value.fingerprint, sink)


PLAIN = Fingerprinter()
"""Knows Python's own types and frozen dataclasses only."""
