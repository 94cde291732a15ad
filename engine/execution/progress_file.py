"""A file of what a batch or a sweep has finished, so that an interrupted one resumes.

Each line has a key made of the graph, its values and the content of its files. A changed graph,
value or file has another key, and runs again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

# How long a line may be in the memory of the system only, where it outlives this process.
MAX_UNSYNCED_S = 5.0


class FinishedItem(NamedTuple):
    """The files that were saved for an item, and its scores by `node.output`."""

    saved: tuple[Path, ...]
    scores: Mapping[str, float]


class ProgressFile:
    """The finished items of a batch or a sweep, in a file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self.path, folder = path, path.parent
        self.folder = folder
        self._finished: dict[str, FinishedItem] = {}
        self._stream: IO[str] | None = None
        self._synced = time.monotonic()
        content = self.path.read_text("utf-8", "replace") if self.path.is_file() else ""
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                saved = tuple(folder / str(name) for name in entry["saved"])
                scores = _read_scores(entry.get("scores", {}))
                self._finished[str(entry["key"])] = FinishedItem(saved, scores)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                continue  # a crash cut this line short: the item runs again

    def finished(self, key: str) -> FinishedItem | None:
        """Return a finished item; None if it is not finished, or a file of it is missing."""
        item = self._finished.get(key)
        return item if item is not None and all(path.is_file() for path in item.saved) else None

    def add(self, key: str, name: str, item: FinishedItem) -> None:
        """Note that an item is finished; the line stays if this process is killed.

        It is on disk within seconds, or when the file is closed.
        """
        names = [os.path.relpath(path, self.folder) for path in item.saved]
        entry = {"key": key, "name": name, "saved": names, "scores": dict(item.scores)}
        line = json.dumps(entry, ensure_ascii=True)
        stream = self._open()
        stream.write(f"{line}\n")
        stream.flush()
        if time.monotonic() - self._synced > MAX_UNSYNCED_S:
            self._sync(stream)
        self._finished[key] = item

    def close(self) -> None:
        """Write to disk what was added; more may be added later."""
        if self._stream is not None:
            self._sync(self._stream)
            self._stream.close()
            self._stream = None

    def _open(self) -> IO[str]:
        if self._stream is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("a", encoding="utf-8")
            if _is_cut_short(self.path):
                self._stream.write("\n")
        return self._stream

    def _sync(self, stream: IO[str]) -> None:
        os.fsync(stream.fileno())
        self._synced = time.monotonic()


def _read_scores(scores: Mapping[str, float]) -> dict[str, float]:
    numbers = {str(name): float(number) for name, number in scores.items()}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _is_cut_short(path: Path) -> bool:
    """Return whether the last line of a file has no line break."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
