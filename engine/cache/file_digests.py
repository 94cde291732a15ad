"""Digests of files and folders, remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

CHUNK = 2**20


class FileDigests:
    """Content digests; a file is read again only if its size, time or inode changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()

    def digest(self, path: Path) -> str:
        """Return the digest of a file's bytes, or of the names and bytes of a folder's files.

        Raises:
            OSError: the file or folder cannot be read.
        """
        if not path.is_dir():
            return self._file(path)
        sink = hashlib.sha256()
        for file in sorted(child for child in path.rglob("*") if child.is_file()):
            name = file.relative_to(path).as_posix()
            sink.update(f"{len(name)}:{name}{self._file(file)}".encode())
        return sink.hexdigest()

    def _file(self, path: Path) -> str:
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        name = os.fspath(path)
        with self._lock:
            known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        sink = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                sink.update(chunk)
        with self._lock:
            self._known[name] = (stamp, sink.hexdigest())
        return sink.hexdigest()
