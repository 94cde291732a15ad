"""The inputs that each node last ran with in this process: plans say why a node runs again.

`run_log` remembers the same across processes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from .node_inputs import LoggedInputs, NodeInputs
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
from .run_log import RunLog

MAX_LENGTH = 100_000


class RunHistory:
    """The last inputs of each node id, the duration of its last call, and all keys computed.

    Bounded; safe to use from several threads.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[str, NodeInputs] = OrderedDict()
        self._computed: OrderedDict[str, None] = OrderedDict()
        self._seconds: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, inputs: NodeInputs, seconds: float = 0.0) -> None:
        """Note that a node has its outputs for these inputs.

        Args:
            seconds: duration of the call that computed them; 0 if there was no call.
        """
        with self._lock:
            self._last[inputs.node.id] = inputs
            self._computed[inputs.key] = None
            if seconds:
                self._seconds[inputs.node.id, inputs.type] = seconds
            for table in (self._last, self._computed, self._seconds):
                if len(table) > MAX_LENGTH:
                    table.popitem(last=False)

    def record_skipped(self, inputs: NodeInputs) -> None:
        """Note that a run did not need a node; the next plan compares with these inputs."""
        with self._lock:
            self._last[inputs.node.id] = inputs
            if len(self._last) > MAX_LENGTH:
                self._last.popitem(last=False)

    def last_seconds(self, inputs: NodeInputs, log: RunLog) -> float | None:
        """Return the duration of the node's last call; None if unknown."""
        seconds = self._seconds.get((inputs.node.id, inputs.type))
        if seconds is not None:
            return seconds
        logged = log.last(inputs.node.id)
        return logged.seconds if logged is not None and logged.type == inputs.type else None

    def why(self, inputs: NodeInputs, log: RunLog) -> Reason:
        """Return why a node that is not cached must run."""
        if inputs.key in self._computed:
            return Evicted()
        own = self._last.get(inputs.node.id)
        last = own or log.last(inputs.node.id)
        if last is None or last.type != inputs.type:
            return NeverRun()
        if last.key == inputs.key:
            return NotStored() if own is None else NeverRun()
        changes = _changes(last, inputs)
        if not changes:
            return CodeChanged()
        return changes[0] if len(changes) == 1 else SeveralChanges(changes)


def _changes(last: NodeInputs | LoggedInputs, now: NodeInputs) -> tuple[Reason, ...]:
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
