"""The memory tier: outputs by key, least recently used first out, under a byte budget.

Keys and where they come from are `engine.execution.plan`'s; nothing here knows a graph.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from .fingerprint import PLAIN, Fingerprinter, UnknownTypeError

DEFAULT_BYTES = 2 * 2**30


@dataclass(slots=True, weakref_slot=True)
class Entry:
    """What a node gave.

    Attributes:
        outputs: one value an output; the node's own NamedTuple where it returned one.
        digests: of each output, once asked for; None where a type has no fingerprint.
        nbytes: memory it holds.
        fingerprinter: what computes the digests.
    """

    outputs: tuple[Any, ...]
    nbytes: int
    digests: tuple[str | None, ...] | None = field(default=None, compare=False)
    fingerprinter: Fingerprinter = field(default=PLAIN, compare=False, repr=False)

    def digest(self, index: int) -> str | None:
        """The digest of one output, computed once; None if its type has no fingerprint."""
        if self.digests is None:
            self.digests = tuple(_digest(self.fingerprinter, value) for value in self.outputs)
        return self.digests[index]


class MemoryCache:
    """Entries by trace (what went in), found also by key (how it was asked for).

    A key is made before anything runs, from the graph alone; a trace is made from the values that
    really came in. Several keys may lead to one trace, which is what early cut-off stands on.
    Safe to use from several threads.

    Args:
        budget: bytes of outputs to keep; an entry larger than that is not kept.
    """

    def __init__(self, budget: int = DEFAULT_BYTES) -> None:
        self.budget = budget
        self.nbytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._traces: dict[str, str] = {}
        self._keys: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def by_key(self, key: str) -> Entry | None:
        """The entry that a node with this key would give, None if it is not kept."""
        trace = self._traces.get(key)
        return None if trace is None else self._entries.get(trace)

    def by_input_key(self, trace: str, key: str) -> Entry | None:
        """The entry for these very inputs; from now on `key` finds it too."""
        with self._lock:
            entry = self._entries.get(trace)
            if entry is not None:
                self._entries.move_to_end(trace)
                self._alias(trace, key)
            return entry

    def touch(self, key: str) -> None:
        """Mark what this key finds as just used."""
        with self._lock:
            trace = self._traces.get(key)
            if trace is not None and trace in self._entries:
                self._entries.move_to_end(trace)

    def put(self, trace: str, key: str, entry: Entry) -> None:
        """Keep an entry, and drop the least recently used ones that no longer fit."""
        if entry.nbytes > self.budget:
            return
        with self._lock:
            old = self._entries.pop(trace, None)
            self.nbytes += entry.nbytes - (old.nbytes if old else 0)
            self._entries[trace] = entry
            self._alias(trace, key)
            while self.nbytes > self.budget:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for table in (self._entries, self._traces, self._keys):
                table.clear()
            self.nbytes = 0

    def _alias(self, trace: str, key: str) -> None:
        if self._traces.get(key) != trace:
            self._traces[key] = trace
            self._keys.setdefault(trace, []).append(key)

    def _drop(self, trace: str) -> None:
        self.nbytes -= self._entries.pop(trace).nbytes
        for key in self._keys.pop(trace, ()):
            if self._traces.get(key) == trace:
                del self._traces[key]


def size_of(value: Any) -> int:
    """Bytes that a value holds: tensors and handles say so themselves (`nbytes`)."""
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
