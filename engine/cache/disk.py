"""The disk cache: entries that outlive the process, in a folder that several processes may share.

    FOLDER/<generation>/keys/ab/<key>             holds an input key, and the digest of both
    FOLDER/<generation>/entries/ab/<input key>    holds the outputs; see `entry_file`

A generation is a digest of the code and libraries behind results, so newer code never finds older
entries. Files are written atomically, by renaming, and never changed: the folder can be shared by
copying or mounting it. An entry whose checksum is wrong is dropped, and its node runs again. A
full or failing disk costs entries, never a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ..files.folder import open_regular, read_regular
from .entry_file import EntryRecord, decode_entry, encode_entry, read_entry, read_record
from .memory import Entry
from .packing import CorruptEntryError, MissingOutputError, Packer, UnstorableError

log = logging.getLogger(__name__)
DEFAULT_BYTES = 20 * 2**30
MIN_SECONDS = 0.05
MAX_PENDING_BYTES = 2**30
SHARE_AFTER_EVICTION = 0.9
SHARE_ON_FULL_DISK = 0.5
STALE_SECONDS = 3600
TEMPORARY = ".tmp"
DIGEST_CHARS = 64
KEY_BYTES = 2 * DIGEST_CHARS + 1
HEX_DIGITS = frozenset("0123456789abcdef")


class Contents(NamedTuple):
    """The entries of a store, of all generations."""

    entries: int
    nbytes: int


class Store:
    """Stores entries by input key, and finds them by key. Safe to use from threads and processes.

    Args:
        folder: made when something is stored, readable by its user only.
        generation: digest of the code and libraries behind results.
        budget: bytes of entries to hold, of all generations; the least recently used leave first.
        min_seconds: the outputs of quicker calls are not stored, unless they are costly.
        packer: packs values; by default those of Python's plain types only.
    """

    def __init__(
        self,
        folder: Path,
        generation: str = "any",
        budget: int = DEFAULT_BYTES,
        min_seconds: float = MIN_SECONDS,
        packer: Packer | None = None,
    ) -> None:
        self._packer = packer or Packer()
        self.folder, self.budget, self.min_seconds = folder, budget, min_seconds
        self._generation_folder = folder / generation
        self._keys, self._entries = (
            f"{self._generation_folder}/{kind}/" for kind in ("keys", "entries")
        )
        self._used_bytes: int | None = None
        self._last_warning = ""
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._pending: list[Future[None]] = []
        self._pending_bytes = 0
        self._writer: ThreadPoolExecutor | None = None

    def find(self, key: str) -> str | None:
        """Return the input key that a key leads to, if its entry is stored."""
        path = f"{self._keys}{key[:2]}/{key}"
        if not os.access(path, os.F_OK):  # asked for every node, so as fast as possible
            return None
        input_key = _read_key(Path(path))
        return input_key if input_key is not None and self.has(input_key) else None

    def has(self, input_key: str) -> bool:
        """Return whether an entry is stored; it may yet turn out to be corrupt."""
        return os.access(f"{self._entries}{input_key[:2]}/{input_key}", os.F_OK)

    def load(self, input_key: str) -> Entry | None:
        """Read an entry; None if it is not stored. A corrupt one is dropped, and None too."""
        path = self._path("entries", input_key)
        try:
            with open_regular(path) as stream:
                entry = decode_entry(read_entry(stream), input_key, self._packer)
            os.utime(path)
        except OSError:
            return None
        except CorruptEntryError as error:
            if not isinstance(error, MissingOutputError):
                log.warning("a stored result is dropped: %s", error)
            self._remove(path)
            return None
        return entry

    def describe(self, input_key: str) -> EntryRecord | None:
        """Return what an entry says of its outputs, without reading them; None if it cannot be."""
        try:
            with open_regular(self._path("entries", input_key)) as stream:
                return read_record(stream, input_key)
        except (OSError, CorruptEntryError):
            return None

    def put(self, input_key: str, key: str, entry: Entry, seconds: float, is_costly: bool) -> None:
        """Store an entry, in the background; `flush` waits for it.

        Args:
            seconds: duration of the call that made it.
            is_costly: store it even if the call was quick: it needed weights, or saved files.
        """
        if entry.nbytes > self.budget or (seconds < self.min_seconds and not is_costly):
            return
        self._in_background(lambda: self._put(input_key, key, entry), entry.nbytes)

    def alias(self, input_key: str, key: str) -> None:
        """Let a further key find a stored entry; in the background."""
        if self.find(key) != input_key:
            self._in_background(lambda: self._write_key(input_key, key))

    def write(self, path: Path, data: Callable[[], bytes]) -> None:
        """Write another file of the folder atomically, in the background; errors are ignored."""

        def work() -> None:
            with contextlib.suppress(OSError):
                self._write(path, [data()])

        self._in_background(work)

    def flush(self) -> None:
        """Wait until everything that was put is on disk."""
        with self._lock:
            pending = list(self._pending)
        for future in pending:
            future.result()

    def close(self) -> None:
        """Flush, and end the writing thread."""
        self.flush()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def contents(self) -> Contents:
        """Return the number of entries and their size."""
        sizes = [status.st_size for _, status in self._files("entries")]
        return Contents(len(sizes), sum(sizes))

    def clear(self) -> None:
        """Drop everything, of all generations."""
        for kind in ("entries", "keys"):
            for path, _ in list(self._files(kind)):
                self._remove(path)
        self._used_bytes = 0

    # Writing

    def _in_background(self, work: Callable[[], None], nbytes: int = 0) -> None:
        """Do work in the writing thread; drop it if too many bytes wait for that already."""

        def counted() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._pending_bytes -= nbytes

        with self._lock:
            self._pending = [future for future in self._pending if not future.done()]
            if self._pending_bytes and self._pending_bytes + nbytes > MAX_PENDING_BYTES:
                return
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "latentloom-store")
            self._pending_bytes += nbytes
            self._pending.append(self._writer.submit(counted))

    def _put(self, input_key: str, key: str, entry: Entry) -> None:
        try:
            parts = encode_entry(entry, input_key, self._packer)
        except UnstorableError:
            return
        except Exception:
            log.exception("a result cannot be stored")
            return
        try:
            if not self.has(input_key):
                self._reserve(sum(map(len, parts)))
                self._write_or_evict(self._path("entries", input_key), parts)
        except OSError as error:
            self._warn_once(error.strerror or str(error))
            return
        self._last_warning = ""
        self._write_key(input_key, key)

    def _warn_once(self, reason: str) -> None:
        """Log why nothing is stored, once until something is stored again."""
        if reason != self._last_warning:
            log.warning("results are not stored in %s: %s", self.folder, reason)
        self._last_warning = reason

    def _write_key(self, input_key: str, key: str) -> None:
        with contextlib.suppress(OSError):
            self._write(self._path("keys", key), [_key_record(key, input_key)])

    def _write_or_evict(self, path: Path, parts: list[bytes]) -> None:
        """Write a file; if that fails, evict older entries and try once more."""
        try:
            self._write(path, parts)
        except OSError:
            if not self._evict(SHARE_ON_FULL_DISK):
                raise
            self._write(path, parts)

    def _write(self, path: Path, parts: list[bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{path.name}.{os.getpid()}.{next(self._numbers)}{TEMPORARY}"
        try:
            with temporary.open("xb") as stream:
                stream.writelines(parts)
            temporary.replace(path)
        except BaseException:
            self._remove(temporary)
            raise

    def _reserve(self, nbytes: int) -> None:
        """Count bytes that are about to be written; evict entries if they exceed the budget."""
        with self._lock:
            if self._used_bytes is None:
                self._used_bytes = self.contents().nbytes
            self._used_bytes += nbytes
            is_full = self._used_bytes > self.budget
        if is_full:
            self._evict(SHARE_AFTER_EVICTION, nbytes)

    def _evict(self, share: float, reserved_bytes: int = 0) -> bool:
        """Drop the least recently used entries, down to a share of the budget.

        Where less than the budget is used, it is down to that share of the used bytes.

        Returns:
            Whether an entry was dropped.
        """
        files = sorted(self._files("entries"), key=lambda file: file[1].st_mtime_ns)
        used = sum(status.st_size for _, status in files)
        goal = min(self.budget, used + reserved_bytes) * share - reserved_bytes
        has_dropped = False
        for path, status in files:
            if used <= goal:
                break
            self._remove(path)
            used, has_dropped = used - status.st_size, True
        for path, _ in list(self._files("keys")) if has_dropped else ():
            input_key = _read_key(path) or "lost"
            if not (path.parents[2] / "entries" / input_key[:2] / input_key).exists():
                self._remove(path)
        self._used_bytes = used + reserved_bytes
        return has_dropped

    def _path(self, kind: str, name: str) -> Path:
        return self._generation_folder / kind / name[:2] / name

    def _files(self, kind: str) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the files of a kind, of all generations, and remove stale temporary files.

        Files that no store has named are left alone.
        """
        for path in self.folder.glob(f"*/{kind}/??/*"):
            if not _is_digest(path.name.partition(".")[0]):
                continue
            with contextlib.suppress(OSError):
                status = path.lstat()
                if not path.name.endswith(TEMPORARY):
                    yield path, status
                elif status.st_mtime < time.time() - STALE_SECONDS:
                    self._remove(path)

    @staticmethod
    def _remove(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def _key_record(key: str, input_key: str) -> bytes:
    """Return the content of the file of a key: a file that belongs to another key is not read."""
    digest = hashlib.sha256(f"{key} {input_key}".encode()).hexdigest()
    return f"{input_key} {digest}".encode()


def _read_key(path: Path) -> str | None:
    """Return the input key in the file of a key; None if the file is damaged or another's."""
    try:
        data = read_regular(path, KEY_BYTES)
        input_key = data[:DIGEST_CHARS].decode("ascii")
    except (OSError, ValueError):
        return None
    is_sound = _is_digest(input_key) and data == _key_record(path.name, input_key)
    return input_key if is_sound else None


def _is_digest(text: str) -> bool:
    return len(text) == DIGEST_CHARS and HEX_DIGITS.issuperset(text)
