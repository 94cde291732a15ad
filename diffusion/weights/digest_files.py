"""Digests of model files that outlive the process, in a folder that several processes may share.

    FOLDER/<SHA-256 of the model file's path>     the file's version, its digest, and a checksum

An entry is used only while the model file's device, inode, size, modification time and change
time are those of the entry. What this trusts: that whoever writes to a file changes its change
time, which programs cannot set. A clock that was set back and the raw disk can fool it, and so
can nobody else, because only entries that belong to this user, and that nobody else may write,
are read.

Nothing is stored of files that changed within seconds before they were read, of file systems that
keep coarse times (FAT, exFAT, SMB), and on Windows, which has no change time: these files are read
in every process. Entries are replaced atomically and checked, so damage or a folder that cannot be
written costs time, never a wrong digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

from .file_cache import FileVersion

MAX_ENTRIES = 4096
SHARE_AFTER_EVICTION = 0.9
MIN_FILE_BYTES = 2**20
SETTLED_NS = 10 * 10**9
MAX_ENTRY_BYTES = 512
DIGEST_CHARS = 64
FORMAT = "latentloom-digest-1"
HAS_CHANGE_TIME = os.name == "posix"


class DigestFiles:
    """Stores the digests of files. Safe to use from threads and processes; reading takes no lock.

    Args:
        folder: made when something is stored, as the one above it, readable by its user only.
        max_entries: files whose digests are stored; those that were used least recently go first.
        min_file_bytes: smaller files are hashed faster than an entry pays for.
    """

    def __init__(
        self, folder: Path, max_entries: int = MAX_ENTRIES, min_file_bytes: int = MIN_FILE_BYTES
    ) -> None:
        self.folder, self.max_entries, self.min_file_bytes = folder, max_entries, min_file_bytes
        self._count: int | None = None
        self._lock = threading.Lock()

    def find(self, path: Path, version: FileVersion) -> str | None:
        """Return the stored digest of this version of a file; None if there is none to trust."""
        if not self._is_worth_storing(version):
            return None
        entry = self._entry(path)
        try:
            descriptor = os.open(entry, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as stream:
                is_ours = _is_ours(os.fstat(stream.fileno()))
                data = stream.read(MAX_ENTRY_BYTES) if is_ours else b""
        except OSError:
            return None
        digest = data[-2 * DIGEST_CHARS - 1 : -DIGEST_CHARS - 1].decode("ascii", "replace")
        if data != _encode(entry.name, version, digest) or not _is_digest(digest):
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)
        return digest

    def put(self, path: Path, version: FileVersion, digest: str) -> None:
        """Store the digest of a file that had this version before and after it was read.

        Nothing happens where a later change could leave the version as it is, or where the folder
        cannot be written.
        """
        is_settled = max(version.changed_ns, version.modified_ns) + SETTLED_NS < time.time_ns()
        if not (is_settled and self._is_worth_storing(version)):
            return
        entry = self._entry(path)
        with contextlib.suppress(OSError), self._lock:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._reserve()
            descriptor, name = tempfile.mkstemp(prefix=entry.name, dir=self.folder)
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(_encode(entry.name, version, digest))
                temporary.replace(entry)
            except BaseException:
                temporary.unlink()
                raise

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            for entry in self._list():
                with contextlib.suppress(OSError):
                    entry.unlink()
            self._count = None

    def _is_worth_storing(self, version: FileVersion) -> bool:
        """Return whether the file is large, and its times tell every two changes apart."""
        return HAS_CHANGE_TIME and not version.sample and version.size_bytes >= self.min_file_bytes

    def _entry(self, path: Path) -> Path:
        name = os.fsencode(path.absolute())
        return self.folder / hashlib.sha256(FORMAT.encode() + b"\0" + name).hexdigest()

    def _list(self) -> list[Path]:
        """Return the entries, and temporary files that a killed process left."""
        try:
            return [file for file in self.folder.iterdir() if _is_digest(file.name[:DIGEST_CHARS])]
        except OSError:
            return []

    def _reserve(self) -> None:
        """Count an entry that is about to be written; if there are too many, remove the oldest."""
        if self._count is None:
            self._count = len(self._list())
        self._count += 1
        if self._count <= self.max_entries:
            return
        entries = sorted(self._list(), key=_used_ns)
        goal = int(self.max_entries * SHARE_AFTER_EVICTION)
        for entry in entries[: max(0, len(entries) - goal)]:
            with contextlib.suppress(OSError):
                entry.unlink()
        self._count = min(len(entries), goal) + 1


def _encode(name: str, version: FileVersion, digest: str) -> bytes:
    """Return the content of an entry; its checksum covers its name, so none passes for another."""
    numbers = " ".join(str(number) for number in version[:-1])
    line = f"{FORMAT} {numbers} {digest}"
    return f"{line} {hashlib.sha256(f'{name} {line}'.encode()).hexdigest()}".encode()


def _is_digest(text: str) -> bool:
    return len(text) == DIGEST_CHARS and set("0123456789abcdef").issuperset(text)


def _is_ours(status: os.stat_result) -> bool:
    """Return whether an entry is a file that this user wrote, and that nobody else may write."""
    is_private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and is_private


def _used_ns(entry: Path) -> int:
    try:
        return entry.lstat().st_mtime_ns
    except OSError:
        return 0
