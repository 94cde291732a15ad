"""What each node last ran with, so that a plan can say why it runs again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..graph.literal import shown
from ..graph.validate import Prepared
from .reasons import (
    Changed,
    CodeChanged,
    Evicted,
    FileChanged,
    NeverRun,
    NotStored,
    Reason,
    SeveralChanges,
    UpstreamChanged,
)

MAX_LENGTH = 100_000


@dataclass(frozen=True, slots=True)
class Trace:
    """What decided a node's key: itself, the digests of its files, the keys of its origins."""

    node: Prepared
    key: str
    files: Mapping[str, str]
    upstream: Mapping[str, str]

    @property
    def type(self) -> str:
        """Of the node."""
        return self.node.spec.name

    @property
    def seconds(self) -> None:
        """Not known here; see `History.took`."""

    def value(self, name: str) -> str | None:
        """An input as text; None if the node has none of this name."""
        node = self.node
        if name in node.links:
            source = node.links[name]
            return f"${source.node}.{source.output}"
        if name in node.files:
            return node.files[name].name
        if node.spec.port(name) is None:
            return None
        value: Any = node.literals.get(name)
        return str(value) if isinstance(value, Path) else shown(value)


class Before(Protocol):
    """What a node ran with before: in this process, or as it was written of another."""

    @property
    def type(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def upstream(self) -> Mapping[str, str]: ...
    @property
    def seconds(self) -> float | None:
        """What its last call took; None if that is not known."""

    def value(self, name: str) -> str | None: ...


LastTime = Callable[[str], Before | None]


class History:
    """The last trace of each node id, what its call took, and all keys ever made; bounded."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, Trace] = OrderedDict()
        self._made: OrderedDict[str, None] = OrderedDict()
        self._took: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, trace: Trace, seconds: float = 0.0) -> None:
        """Note that a node has its outputs for this trace now.

        Args:
            seconds: of the call that made them; 0 where none was made.
        """
        with self._lock:
            self._last[trace.node.id] = trace
            self._made[trace.key] = None
            if seconds:
                self._took[trace.node.id, trace.type] = seconds
            for table in (self._last, self._made, self._took):
                if len(table) > MAX_LENGTH:
                    table.popitem(last=False)

    def pass_by(self, trace: Trace) -> None:
        """Note that a run had no need of a node with this trace; the next plan compares with it."""
        with self._lock:
            self._last[trace.node.id] = trace
            if len(self._last) > MAX_LENGTH:
                self._last.popitem(last=False)

    def took(self, trace: Trace, last_time: LastTime) -> float | None:
        """What the node's last call took; None if none is known."""
        known = self._took.get((trace.node.id, trace.type))
        if known is not None:
            return known
        before = last_time(trace.node.id)
        return before.seconds if before is not None and before.type == trace.type else None

    def why(self, trace: Trace, last_time: LastTime) -> Reason:
        """Return why a node that is not cached must run.

        Args:
            last_time: what a node ran with in an earlier process.
        """
        if trace.key in self._made:
            return Evicted()
        last: Before | None = self._last.get(trace.node.id)
        earlier = last is None
        last = last or last_time(trace.node.id)
        if last is None or last.type != trace.type:
            return NeverRun()
        if last.key == trace.key:
            return NotStored() if earlier else NeverRun()
        changes = _changes(last, trace)
        if not changes:
            return CodeChanged()
        return changes[0] if len(changes) == 1 else SeveralChanges(changes)


def _changes(last: Before, now: Trace) -> tuple[Reason, ...]:
    changes: list[Reason] = []
    for port in now.node.spec.inputs:
        name = port.name
        before, after = last.value(name), now.value(name)
        if before != after:
            changes.append(Changed(name, before, after))
        elif last.files.get(name) != now.files.get(name):
            changes.append(FileChanged(name, now.node.files[name].name))
        elif last.upstream.get(name) != now.upstream.get(name):
            changes.append(UpstreamChanged(now.node.links[name].node))
    for name in sorted(last.files.keys() | now.files.keys()):
        if now.node.spec.port(name) is None and last.files.get(name) != now.files.get(name):
            changes.append(FileChanged(None, name))
    return tuple(dict.fromkeys(changes))
