"""The inputs that a graph's nodes last ran with, in a file next to the disk cache.

With it, a plan in a new process can say why a node runs again, and how long it took.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cache.disk import Store
from ..files.folder import read_regular
from ..graph.graph import Graph
from .node_inputs import LoggedInputs, NodeInputs

FOLDER = "history"
NAME_LENGTH = 32
MAX_NODES = 2000
MAX_LOG_BYTES = 64 * 2**20

LastSeconds = Callable[[NodeInputs], float | None]


class RunLog:
    """The last inputs of one graph's nodes, read when they are first asked for.

    Args:
        store: the disk cache whose folder holds the file; without one nothing is logged.
    """

    def __init__(self, graph: Graph, store: Store | None) -> None:
        self._store = store
        self._nodes: Mapping[str, LoggedInputs] | None = None
        if store is not None:
            name = str(graph.source.absolute()) if graph.source else f"title {graph.title}"
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            self._path = store.folder / FOLDER / f"{digest[:NAME_LENGTH]}.json"

    def last(self, id: str) -> LoggedInputs | None:
        """Return what a node of this graph last ran with; None if that was not logged."""
        if self._store is None:
            return None
        if self._nodes is None:
            self._nodes = _read(self._path)
        return self._nodes.get(id)

    def save(self, nodes: Sequence[NodeInputs], last_seconds: LastSeconds) -> None:
        """Write what the nodes ran with now, in the background; skips very large graphs."""
        if self._store is not None and len(nodes) <= MAX_NODES:
            self._store.write(self._path, lambda: _encode(nodes, last_seconds))


def _encode(nodes: Iterable[NodeInputs], last_seconds: LastSeconds) -> bytes:
    entries = {
        inputs.node.id: {
            "type": inputs.type,
            "key": inputs.key,
            "files": dict(inputs.files),
            "upstream": dict(inputs.upstream),
            "values": {port.name: inputs.value(port.name) for port in inputs.node.spec.inputs},
            "seconds": last_seconds(inputs),
        }
        for inputs in nodes
    }
    return json.dumps(entries).encode()


def _read(path: Path) -> dict[str, LoggedInputs]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        entries: dict[str, dict[str, Any]] = json.loads(read_regular(path, MAX_LOG_BYTES))
        return {id: LoggedInputs(**entry) for id, entry in entries.items()}
    return {}
