"""A cache for what is read from files, valid while a file stays unchanged. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from ..errors import ModelFileError

T = TypeVar("T")
Version = tuple[int, int, int]


def cache_while_unchanged(
    maxsize: int,
) -> Callable[[Callable[[Path], T]], Callable[[Path], T]]:
    """Return a decorator that caches the results of a function of a file.

    A file counts as unchanged while its path, size, modification time and inode are the same.

    Args:
        maxsize: number of files whose results are cached; the least recently used are dropped.

    Raises:
        ModelFileError: by the decorated function, if there is no such file.
    """

    def decorate(read: Callable[[Path], T]) -> Callable[[Path], T]:
        @lru_cache(maxsize)
        def read_version(path: Path, _version: Version) -> T:
            return read(path)

        @wraps(read)
        def read_cached(path: Path) -> T:
            return read_version(path, _version_of(path))

        return read_cached

    return decorate


def _version_of(path: Path) -> Version:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error
    return status.st_size, status.st_mtime_ns, status.st_ino
