"""Content digests of model files and folders, cached while a file stays unchanged.

Node keys and weight handles share these, so that a file of gigabytes is read once for both; with
`DigestFiles`, once for all processes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from .digest_files import DigestFiles
from .file_cache import FileVersion, file_version

MAX_CACHED = 4096


def content_digest(path: Path, stored: DigestFiles | None = None) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files.

    Args:
        path: a file or a folder.
        stored: digests that earlier processes computed, and where new ones go; None to look only
            at those of this process.

    Raises:
        ModelFileError: a file cannot be read.
    """
    if path.is_file():
        return _file_digest(path, stored)
    sink = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        name = file.relative_to(path).as_posix()
        sink.update(f"{name}\0{_file_digest(file, stored)}\0".encode())
    return sink.hexdigest()


def _file_digest(path: Path, stored: DigestFiles | None) -> str:
    version = file_version(path)
    known = _known_digests(path, version)
    if not known:
        known.append(_find_or_read(path, version, stored))
    return known[0]


@lru_cache(MAX_CACHED)
def _known_digests(_path: Path, _version: FileVersion) -> list[str]:
    """Return a list for the digest of this version of a file, empty until it is known."""
    return []


def _find_or_read(path: Path, version: FileVersion, stored: DigestFiles | None) -> str:
    digest = stored.find(path, version) if stored else None
    if digest is not None:
        return digest
    digest = _read(path)
    if stored and not version.sample and file_version(path) == version:
        stored.put(path, version, digest)
    return digest


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
