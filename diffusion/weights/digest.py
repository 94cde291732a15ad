"""Content digests of model files and folders, cached while a file stays unchanged.

Node keys and weight handles share these, so that a file of gigabytes is read once for both.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from .file_cache import cache_while_unchanged


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files."""
    if path.is_file():
        return _file_digest(path)
    sink = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        sink.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\0".encode())
    return sink.hexdigest()


@cache_while_unchanged(maxsize=4096)
def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
