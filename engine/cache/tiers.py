"""Both caches as a run sees them: memory before disk."""

from __future__ import annotations

from typing import Literal

from ..node.context import Saved
from ..node.spec import NodeSpec
from .disk import Store
from .entry_file import EntryRecord
from .memory import Entry, MemoryCache

Tier = Literal["memory", "disk"]


class Tiers:
    """The memory cache, and the disk cache if there is one. Reading from disk fills memory.

    `key` and `input_key` are explained in `engine.execution.keys`.
    """

    def __init__(self, memory: MemoryCache, disk: Store | None) -> None:
        self.memory, self.disk = memory, disk

    def on_disk(self, key: str, spec: NodeSpec) -> str | None:
        """Return the input key of the entry on disk for a key; None if there is none.

        An entry of an output node counts only while the files that it saved are there.
        """
        input_key = self.disk.find(key) if self.disk is not None else None
        if input_key is not None and spec.output_node and self.read(input_key, key, spec) is None:
            return None
        return input_key

    def read(self, input_key: str, key: str, spec: NodeSpec) -> Entry | None:
        """Read an entry from disk; None if it is corrupt, or a file that it saved is missing."""
        entry = usable(self.disk.load(input_key)) if self.disk is not None else None
        if entry is None:
            return None
        if spec.returns is not None and len(entry.outputs) == len(spec.outputs):
            entry.outputs = spec.returns(*entry.outputs)
        self.memory.put(input_key, key, entry)
        return entry

    def fetch(self, input_key: str, key: str, spec: NodeSpec) -> Tier:
        """Bring the entry for these input values into memory; return the tier that had it.

        Returns:
            "memory" also where neither tier has it.
        """
        if self.disk is None or not self.disk.has(input_key):
            return "memory"
        self.disk.alias(input_key, key)
        if self.memory.by_input_key(input_key, key) is None:
            self.read(input_key, key, spec)
            return "disk"
        return "memory"

    def describe(self, key: str) -> EntryRecord | None:
        """Return what either tier says of the outputs for a key; None if neither has them."""
        entry = self.memory.by_key(key)
        if entry is not None:
            return describe_entry(entry)
        input_key = self.disk.find(key) if self.disk is not None else None
        if self.disk is None or input_key is None:
            return None
        return self.disk.describe(input_key)

    def put(self, input_key: str, key: str, spec: NodeSpec, entry: Entry, seconds: float) -> None:
        """Cache the outputs of a call; on disk if it was slow, needed weights, or saved files."""
        self.memory.put(input_key, key, entry)
        if self.disk is not None:
            saved = spec.output_node and any(isinstance(value, Saved) for value in entry.outputs)
            self.disk.put(input_key, key, entry, seconds, spec.device or saved)


def describe_entry(entry: Entry) -> EntryRecord:
    """Return the digests of an entry's outputs, and its notes."""
    digests = tuple(entry.digest(index) for index in range(len(entry.outputs)))
    return EntryRecord(digests, entry.notes)


def usable(entry: Entry | None) -> Entry | None:
    """Return the entry, or None if a file that it saved is missing."""
    if entry is None:
        return None
    for value in entry.outputs:
        if isinstance(value, Saved) and not all(path.exists() for path in value.paths):
            return None
    return entry
