"""A file of what a batch or a sweep has finished, so that an interrupted one resumes.

Each line has a key made of the graph, its values and the content of its files. A changed graph,
value or file has another key, and runs again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


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
