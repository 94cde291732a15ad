"""A cache for what is read from files, valid while a file stays unchanged. No torch here."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from ..errors import ModelFileError

T = TypeVar("T")
SETTLED_NS = 3 * 10**9
COARSE_NS = 10**7
SAMPLES, SAMPLE_BYTES = 256, 2**16


class FileVersion(NamedTuple):
    """The version of a file; `sample` is empty where the times tell versions apart."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int
    sample: str


def cache_while_unchanged(
    maxsize: int,
) -> Callable[[Callable[[Path], T]], Callable[[Path], T]]:
    """Return a decorator that caches the results of a function of a file.

    A file counts as unchanged while its path and `file_version` are the same.

    Args:
        maxsize: number of files whose results are cached; the least recently used are dropped.

    Raises:
        ModelFileError: by the decorated function, if there is no such file.
    """

    def decorate(read: Callable[[Path], T]) -> Callable[[Path], T]:
        @lru_cache(maxsize)
        def read_version(path: Path, _version: FileVersion) -> T:
            return read(path)

        @wraps(read)
        def read_cached(path: Path) -> T:
            return read_version(path, file_version(path))

        return read_cached

    return decorate


def file_version(path: Path) -> FileVersion:
    """Return the version of a file: identity, size, times and, where needed, its content.

    Programs can set the modification time, but not the change time. Neither tells two changes
    apart within seconds of each other, or on file systems that keep coarse times (FAT, exFAT,
    SMB). There the content decides: all of a file of up to 16 MiB, 256 evenly spread blocks of a
    larger one.

    Raises:
        ModelFileError: the file cannot be read.
    """
    try:
        # An open file's status is current even on NFS, which caches the status of paths.
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            changed_ns = status.st_ctime_ns
            is_settled = changed_ns + SETTLED_NS < time.time_ns()
            is_trusted = is_settled and changed_ns % COARSE_NS != 0
            sample = "" if is_trusted else _sample(stream, status.st_size)
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error
    identity = status.st_dev, status.st_ino, status.st_size
    return FileVersion(*identity, status.st_mtime_ns, changed_ns, sample)


def _sample(stream: BinaryIO, size_bytes: int) -> str:
    sink = hashlib.sha256()
    count = min(SAMPLES, -(-size_bytes // SAMPLE_BYTES))
    last = max(0, size_bytes - SAMPLE_BYTES)
    for index in range(count):
        stream.seek(last * index // max(1, count - 1))
        sink.update(stream.read(SAMPLE_BYTES))
    return sink.hexdigest()
