"""Content digests of model files and folders, remembered while size, time and inode stay.

The keys of nodes and the handles of weights take them from here, so that a file of gigabytes is
read for them once.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def content_digest(path: Path) -> str:
    """The digest of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return _of(path)
    sink = hashlib.sha256()
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        sink.update(f"{file.relative_to(path).as_posix()}\0{_of(file)}\0".encode())
    return sink.hexdigest()


def _of(path: Path) -> str:
    facts = path.stat()
    return _read(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=4096)
def _read(path: str, _size: int, _changed: int, _inode: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
