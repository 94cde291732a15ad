"""Digests of files and folders, remembered while a file's stamp can be trusted."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

CHUNK = 2**20
SETTLED_NS = 3 * 10**9
COARSE_NS = 10**7
Stamp = tuple[int, int, int, int, int]


class FileDigests:
    """Content digests; a file is read again unless a trusted stamp shows that it is unchanged.

    The stamp holds the change time, which programs cannot set. It is not trusted within seconds
    of a change, nor where the file system keeps coarse times: then the content is read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}
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
        name = os.fspath(path)
        # An open file's status is current even on NFS, which caches the status of paths.
        with path.open("rb") as stream:
            stamp, now_ns = _stamp_of(os.fstat(stream.fileno())), time.time_ns()
            with self._lock:
                known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            sink = hashlib.sha256()
            while chunk := stream.read(CHUNK):
                sink.update(chunk)
        with self._lock:
            if _is_trusted(stamp, now_ns):
                self._known[name] = (stamp, sink.hexdigest())
            else:
                self._known.pop(name, None)
        return sink.hexdigest()


def _stamp_of(status: os.stat_result) -> Stamp:
    identity = status.st_dev, status.st_ino, status.st_size
    return *identity, status.st_mtime_ns, status.st_ctime_ns


def _is_trusted(stamp: Stamp, now_ns: int) -> bool:
    """Return whether a later change of the file must change its stamp.

    Two changes within one tick of the file system's clock have one stamp. FAT counts in steps of
    2 s, exFAT of 10 ms; SMB and old ext3 in whole seconds.
    """
    changed_ns = stamp[-1]
    return changed_ns % COARSE_NS != 0 and changed_ns + SETTLED_NS < now_ns
