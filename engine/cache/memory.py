"""The memory cache: outputs by key within a byte budget; the least recently used leave first.

`engine.execution.keys` explains the keys; nothing here knows a graph.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from .fingerprint import PLAIN, Fingerprinter, UnknownTypeError
from .release import release_memory

DEFAULT_BYTES = 2 * 2**30


@dataclass(slots=True, weakref_slot=True)
class Entry:
    """The outputs of a node.

    Attributes:
        outputs: one value for each output; the node's own NamedTuple if it returned one.
        nbytes: memory that they hold.
        digests: one for each output, once asked for; None for a type without a fingerprint.
        fingerprinter: computes the digests.
        notes: what the call said of itself for manifests, as `Context.note` takes it.
    """

    outputs: tuple[Any, ...]
    nbytes: int
    digests: tuple[str | None, ...] | None = field(default=None, compare=False)
    fingerprinter: Fingerprinter = field(default=PLAIN, compare=False, repr=False)
    notes: Mapping[str, Any] | None = field(default=None, compare=False)

    def digest(self, index: int) -> str | None:
        """Return the digest of one output, computed once; None if its type has no fingerprint."""
        if self.digests is None:
            self.digests = tuple(_digest(self.fingerprinter, value) for value in self.outputs)
        return self.digests[index]


class MemoryCache:
    """Entries by input key, found also by each key that led to them.

    Several keys may lead to one input key; early cut-off rests on this. Safe to use from several
    threads.

    Args:
        budget: bytes of outputs to hold; a larger entry is not cached.
    """

    def __init__(self, budget: int = DEFAULT_BYTES) -> None:
        self.budget = budget
        self.nbytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._input_keys: dict[str, str] = {}
        self._keys: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def by_key(self, key: str) -> Entry | None:
        """Return the entry for a key; None if it is not cached."""
        input_key = self._input_keys.get(key)
        return None if input_key is None else self._entries.get(input_key)

    def by_input_key(self, input_key: str, key: str) -> Entry | None:
        """Return the entry for these input values; from now on `key` finds it too."""
        with self._lock:
            entry = self._entries.get(input_key)
            if entry is not None:
                self._entries.move_to_end(input_key)
                self._alias(input_key, key)
            return entry

    def touch(self, key: str) -> None:
        """Mark the entry for a key as just used."""
        with self._lock:
            input_key = self._input_keys.get(key)
            if input_key is not None and input_key in self._entries:
                self._entries.move_to_end(input_key)

    def put(self, input_key: str, key: str, entry: Entry) -> None:
        """Cache an entry, and drop the least recently used ones that no longer fit."""
        if entry.nbytes > self.budget:
            return
        with self._lock:
            old = self._entries.pop(input_key, None)
            self.nbytes += entry.nbytes - (old.nbytes if old else 0)
            self._entries[input_key] = entry
            self._alias(input_key, key)
            while self.nbytes > self.budget:
                self._drop(next(iter(self._entries)))

    def drop(self, key: str) -> None:
        """Forget a key, and drop its entry unless another key leads to it."""
        with self._lock:
            input_key = self._input_keys.pop(key, None)
            if input_key is None:
                return
            keys = self._keys[input_key]
            keys.remove(key)
            if not any(self._input_keys.get(other) == input_key for other in keys):
                self._drop(input_key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            for table in (self._entries, self._input_keys, self._keys):
                table.clear()
            self.nbytes = 0
        release_memory()

    def _alias(self, input_key: str, key: str) -> None:
        if self._input_keys.get(key) != input_key:
            self._input_keys[key] = input_key
            self._keys.setdefault(input_key, []).append(key)

    def _drop(self, input_key: str) -> None:
        self.nbytes -= self._entries.pop(input_key).nbytes
        for key in self._keys.pop(input_key, ()):
            if self._input_keys.get(key) == input_key:
                del self._input_keys[key]


def size_of(value: Any) -> int:
    """Return the bytes that a value holds; tensors and handles have their own `nbytes`."""
    own = getattr(value, "nbytes", None)
    if isinstance(own, int):
        return own
    if isinstance(value, tuple | list):
        return 64 + sum(size_of(item) for item in value)
    if isinstance(value, Mapping):
        return 64 + sum(size_of(item) for item in value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return 64 + sum(size_of(getattr(value, field.name)) for field in fields(value))
    return sys.getsizeof(value, 64)


def _digest(fingerprinter: Fingerprinter, value: Any) -> str | None:
    try:
        return fingerprinter.fingerprint(value)
    except UnknownTypeError:
        return None
