"""A file of what a batch or a sweep has finished, so that an interrupted one resumes.

Each line has a key made of the graph, its values and the content of its files. A changed graph,
value or file has another key, and runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import GraphError, LatentloomError
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from .events import OnEvent
from .executor import Engine
from .plan import Plan


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome of one item.

    Attributes:
        state: "skipped" if an earlier run of the batch or sweep finished it.
        saved: the files that were saved for it, now or before.
        errors: why it failed.
    """

    state: Literal["ran", "skipped", "failed", "cancelled"]
    saved: tuple[Path, ...] = ()
    errors: tuple[LatentloomError, ...] = ()
    model_calls: int = 0
    seconds: float = 0.0


def plan_key(plan: Plan) -> str:
    """Return the key of a run: that of all its nodes."""
    keys = "\n".join(f"{id} {step.key}" for id, step in sorted(plan.nodes.items()))
    return hashlib.sha256(keys.encode()).hexdigest()


class ProgressFile:
    """The finished items of a batch or a sweep, in a file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self.path, folder = path, path.parent
        self.folder = folder
        self._finished: dict[str, tuple[Path, ...]] = {}
        content = self.path.read_text("utf-8", "replace") if self.path.is_file() else ""
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                saved = tuple(folder / str(name) for name in entry["saved"])
                self._finished[str(entry["key"])] = saved
            except (ValueError, LookupError, TypeError, RecursionError):
                continue  # a crash cut this line short: the item runs again

    def run(
        self,
        engine: Engine,
        graph: Graph,
        workspace: Workspace,
        name: str,
        on_event: OnEvent | None,
        cancel: CancelToken,
    ) -> ItemOutcome:
        """Run a graph unless it is finished, and note that it is; a failure is an outcome.

        Args:
            name: of the item, for people who read the file.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            key = plan_key(engine.plan(graph, workspace))
            finished = self.saved(key)
            if finished is not None:
                return ItemOutcome("skipped", finished)
            result = engine.run(graph, workspace, on_event=on_event, cancel=cancel)
        except GraphError as error:
            return ItemOutcome("failed", errors=(error,))
        saved = tuple(dict.fromkeys(path for _, path in result.saved))
        outcome = ItemOutcome(
            "ran", saved, tuple(result.errors), result.model_calls, result.seconds
        )
        if result.status == "cancelled":
            return replace(outcome, state="cancelled", errors=())
        if result.errors:
            return replace(outcome, state="failed")
        self.add(key, name, saved)
        return outcome

    def saved(self, key: str) -> tuple[Path, ...] | None:
        """Return the files of a finished item; None if it is not finished, or one is missing."""
        paths = self._finished.get(key)
        return paths if paths is not None and all(path.is_file() for path in paths) else None

    def add(self, key: str, name: str, saved: tuple[Path, ...]) -> None:
        """Note that an item is finished; the line is on disk when this returns."""
        names = [os.path.relpath(path, self.folder) for path in saved]
        line = json.dumps({"key": key, "name": name, "saved": names}, ensure_ascii=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n" if _is_cut_short(self.path) else f"{line}\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._finished[key] = saved


def _is_cut_short(path: Path) -> bool:
    """Return whether the last line of a file has no line break."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
