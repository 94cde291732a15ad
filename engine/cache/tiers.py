"""Both places where outputs are kept, as a run sees them: memory before the disk."""

from __future__ import annotations

from typing import Literal

from ..node.context import Saved
from ..node.spec import NodeSpec
from .disk import Store
from .memory import Entry, MemoryCache

Tier = Literal["memory", "disk"]


class Tiers:
    """Memory, and a disk tier where there is one; what is read off the disk is in memory then."""

    def __init__(self, memory: MemoryCache, disk: Store | None) -> None:
        self.memory, self.disk = memory, disk

    def on_disk(self, key: str, spec: NodeSpec) -> str | None:
        """The trace of what the disk has for a key; files that were saved must still be there."""
        trace = self.disk.find(key) if self.disk is not None else None
        if trace is not None and spec.output_node and self.read(trace, key, spec) is None:
            return None
        return trace

    def read(self, trace: str, key: str, spec: NodeSpec) -> Entry | None:
        """An entry of the disk; None if it is damaged, or stands for files that are gone."""
        entry = usable(self.disk.load(trace)) if self.disk is not None else None
        if entry is None:
            return None
        if spec.returns is not None and len(entry.outputs) == len(spec.outputs):
            entry.outputs = spec.returns(*entry.outputs)
        self.memory.put(trace, key, entry)
        return entry

    def fetch(self, trace: str, key: str, spec: NodeSpec) -> Tier:
        """Bring what the disk has for these very inputs into memory; where it was."""
        if self.disk is None or not self.disk.has(trace):
            return "memory"
        self.disk.alias(trace, key)
        if self.memory.by_input_key(trace, key) is None:
            self.read(trace, key, spec)
            return "disk"
        return "memory"

    def put(self, trace: str, key: str, spec: NodeSpec, entry: Entry, seconds: float) -> None:
        """Keep what a call gave; on the disk, if it took long, needed weights, or saved files."""
        self.memory.put(trace, key, entry)
        if self.disk is not None:
            saved = spec.output_node and any(isinstance(each, Saved) for each in entry.outputs)
            self.disk.put(trace, key, entry, seconds, spec.device or saved)


def usable(entry: Entry | None) -> Entry | None:
    """The entry, unless it stands for files that are gone."""
    if entry is None:
        return None
    for value in entry.outputs:
        if isinstance(value, Saved) and not all(path.exists() for path in value.paths):
            return None
    return entry
