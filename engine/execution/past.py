"""What the nodes of a graph last ran with in an earlier process, so that a plan can say why."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.disk import Store
from ..graph.graph import Graph
from .history import Trace

FOLDER = "history"
LENGTH = 32
MAX_NODES = 2000


@dataclass(frozen=True, slots=True)
class Told:
    """What was written of a node's trace; see `engine.execution.history.Trace`."""

    type: str
    key: str
    files: Mapping[str, str]
    upstream: Mapping[str, str]
    values: Mapping[str, str]
    seconds: float | None = None

    def value(self, name: str) -> str | None:
        """An input as text; None if it had none."""
        return self.values.get(name)


class Past:
    """The last traces of one graph, read when they are first asked for.

    Args:
        store: whose folder they lie in; None where nothing is kept.
    """

    def __init__(self, graph: Graph, store: Store | None) -> None:
        self._store = store
        self._told: Mapping[str, Told] | None = None
        if store is not None:
            name = str(graph.source.absolute()) if graph.source else f"title {graph.title}"
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]
            self._file = store.folder / FOLDER / f"{digest}.json"

    def last(self, id: str) -> Told | None:
        """What a node of this graph last ran with."""
        if self._store is None:
            return None
        if self._told is None:
            self._told = _read(self._file)
        return self._told.get(id)

    def keep(self, traces: Sequence[Trace], took: Callable[[Trace], float | None]) -> None:
        """Write what the nodes ran with now, in the background; of the largest graphs nothing.

        Args:
            took: what a node's last call took, in seconds.
        """
        if self._store is not None and len(traces) <= MAX_NODES:
            self._store.write(self._file, lambda: _written(traces, took))


def _written(traces: Iterable[Trace], took: Callable[[Trace], float | None]) -> bytes:
    told = {
        trace.node.id: {
            "type": trace.type,
            "key": trace.key,
            "files": dict(trace.files),
            "upstream": dict(trace.upstream),
            "values": {port.name: trace.value(port.name) for port in trace.node.spec.inputs},
            "seconds": took(trace),
        }
        for trace in traces
    }
    return json.dumps(told).encode()


def _read(file: Path) -> dict[str, Told]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        found: dict[str, dict[str, Any]] = json.loads(file.read_bytes())
        return {id: Told(**entry) for id, entry in found.items()}
    return {}
