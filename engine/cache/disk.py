"""The disk tier: entries that outlive the process, in a folder that several may share.

    FOLDER/<generation>/keys/ab/<key>           names a trace
    FOLDER/<generation>/entries/ab/<trace>      the outputs, in safetensors' layout

A generation is what of code and libraries decides results, so that none is found by newer code.
Files come into being whole, by renaming, and are never changed: copying or mounting the folder
elsewhere shares it. Each entry has a checksum, which is tested when it is read; one that does not
pass is dropped, and its node runs again. A disk that is full or fails costs entries, never a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .memory import Entry, size_of
from .packing import Array, CorruptEntryError, MissingOutputError, Packer, UnstorableError

log = logging.getLogger(__name__)
DEFAULT_BYTES = 20 * 2**30
WORTH_SECONDS = 0.05
MAX_HEADER_BYTES = 16 * 2**20
MAX_WAITING_BYTES = 2**30
TRIMMED_TO = 0.9
STALE_SECONDS = 3600
TEMPORARY = ".tmp"
DIGITS = frozenset("0123456789abcdef")


class Contents(NamedTuple):
    """What a store holds, all generations together."""

    entries: int
    nbytes: int


class Store:
    """Keeps entries by trace, and finds them by key. Safe to use from threads and processes.

    Args:
        folder: made when something is kept, for its user's eyes only.
        generation: what of code and libraries decides results.
        budget: bytes of entries to keep, of all generations; least recently used out first.
        worth_seconds: what took less is made again rather than kept, where it needs no weights.
        packer: packs values; by default those of Python's plain types only.
    """

    def __init__(
        self,
        folder: Path,
        generation: str = "any",
        budget: int = DEFAULT_BYTES,
        worth_seconds: float = WORTH_SECONDS,
        packer: Packer | None = None,
    ) -> None:
        self._packer = packer or Packer()
        self.folder, self.budget, self.worth_seconds = folder, budget, worth_seconds
        self._own = folder / generation
        self._keys, self._entries = (f"{self._own}/{kind}/" for kind in ("keys", "entries"))
        self._held: int | None = None
        self._complaint = ""
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: list[Future[None]] = []
        self._waiting_bytes = 0
        self._writer: ThreadPoolExecutor | None = None

    def find(self, key: str) -> str | None:
        """The trace that a key leads to, if its entry is here."""
        alias = f"{self._keys}{key[:2]}/{key}"
        if not os.access(alias, os.F_OK):  # asked of each node, so as fast as can be
            return None
        try:
            trace = Path(alias).read_text("ascii")
        except (OSError, ValueError):
            return None
        return trace if _is_digest(trace) and self.has(trace) else None

    def has(self, trace: str) -> bool:
        """Whether there is an entry; it may yet turn out to be damaged."""
        return os.access(f"{self._entries}{trace[:2]}/{trace}", os.F_OK)

    def load(self, trace: str) -> Entry | None:
        """An entry; None if there is none, or only a damaged one, which is dropped."""
        place = self._place("entries", trace)
        try:
            entry = _read(bytearray(place.read_bytes()), trace, self._packer)
            os.utime(place)
        except OSError:
            return None
        except CorruptEntryError as error:
            if not isinstance(error, MissingOutputError):
                log.warning("a kept result is dropped: %s", error)
            self._remove(place)
            return None
        return entry

    def put(self, trace: str, key: str, entry: Entry, seconds: float, costly: bool) -> None:
        """Keep an entry, in the background; `flush` waits for it.

        Args:
            seconds: what it took to make.
            costly: keep it even if that was little: it needed weights, or saved files.
        """
        if entry.nbytes > self.budget or (seconds < self.worth_seconds and not costly):
            return
        self._later(lambda: self._put(trace, key, entry), entry.nbytes)

    def alias(self, trace: str, key: str) -> None:
        """Let a key, too, find an entry that is here; in the background."""
        if self.find(key) != trace:
            self._later(lambda: self._name(trace, key))

    def write(self, file: Path, data: Callable[[], bytes]) -> None:
        """Write another file of the folder whole, in the background; a failure costs that file."""

        def work() -> None:
            with contextlib.suppress(OSError):
                self._write(file, [data()])

        self._later(work)

    def flush(self) -> None:
        """Wait until all that was put is on the disk."""
        with self._lock:
            waiting = list(self._waiting)
        for each in waiting:
            each.result()

    def close(self) -> None:
        """The same, and let the thread go."""
        self.flush()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def contents(self) -> Contents:
        """How much is kept."""
        sizes = [facts.st_size for _, facts in self._files("entries")]
        return Contents(len(sizes), sum(sizes))

    def clear(self) -> None:
        """Drop everything, of all generations."""
        for kind in ("entries", "keys"):
            for place, _ in list(self._files(kind)):
                self._remove(place)
        self._held = 0

    # Writing

    def _later(self, work: Callable[[], None], nbytes: int = 0) -> None:
        """Do it in the writing thread; where too many bytes wait for that already, not at all."""

        def counted() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._waiting_bytes -= nbytes

        with self._lock:
            self._waiting = [each for each in self._waiting if not each.done()]
            if self._waiting_bytes and self._waiting_bytes + nbytes > MAX_WAITING_BYTES:
                return
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "latentloom-store")
            self._waiting_bytes += nbytes
            self._waiting.append(self._writer.submit(counted))

    def _put(self, trace: str, key: str, entry: Entry) -> None:
        try:
            parts = _written(entry, trace, self._packer)
        except UnstorableError:
            return
        except Exception:
            log.exception("a result cannot be kept")
            return
        try:
            if not self.has(trace):
                self._make_room(sum(map(len, parts)))
                self._write_or_trim(self._place("entries", trace), parts)
        except OSError as error:
            self._complain(error.strerror or str(error))
            return
        self._complaint = ""
        self._name(trace, key)

    def _complain(self, why: str) -> None:
        """Say once why nothing is kept, until something is again."""
        if why != self._complaint:
            log.warning("results are not kept in %s: %s", self.folder, why)
        self._complaint = why

    def _name(self, trace: str, key: str) -> None:
        with contextlib.suppress(OSError):
            self._write(self._place("keys", key), [trace.encode()])

    def _write_or_trim(self, place: Path, parts: list[bytes]) -> None:
        """Write a file; where the disk is full, once more after older entries went."""
        try:
            self._write(place, parts)
        except OSError:
            if not self._trim(0.5):
                raise
            self._write(place, parts)

    def _write(self, place: Path, parts: list[bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.parent / f"{place.name}.{os.getpid()}.{next(self._numbers)}{TEMPORARY}"
        try:
            with temporary.open("xb") as stream:
                stream.writelines(parts)
            temporary.replace(place)
        except BaseException:
            self._remove(temporary)
            raise

    def _make_room(self, nbytes: int) -> None:
        with self._lock:
            if self._held is None:
                self._held = self.contents().nbytes
            self._held += nbytes
            full = self._held > self.budget
        if full:
            self._trim(TRIMMED_TO, nbytes)

    def _trim(self, share: float, extra: int = 0) -> bool:
        """Drop what was used longest ago, until a share of the budget, or of what is, is left."""
        files = sorted(self._files("entries"), key=lambda file: file[1].st_mtime_ns)
        held = sum(facts.st_size for _, facts in files)
        goal, dropped = min(self.budget, held + extra) * share - extra, False
        for place, facts in files:
            if held <= goal:
                break
            self._remove(place)
            held, dropped = held - facts.st_size, True
        for alias, _ in list(self._files("keys")) if dropped else ():
            with contextlib.suppress(OSError):
                trace = alias.read_text("ascii")
                if not (alias.parents[2] / "entries" / trace[:2] / trace).exists():
                    self._remove(alias)
        self._held = held + extra
        return dropped

    def _place(self, kind: str, name: str) -> Path:
        return self._own / kind / name[:2] / name

    def _files(self, kind: str) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of a kind, of all generations; what a writer left behind long ago goes.

        A file that no store has named is nobody's here, and stays.
        """
        for place in self.folder.glob(f"*/{kind}/??/*"):
            if not _is_digest(place.name.partition(".")[0]):
                continue
            with contextlib.suppress(OSError):
                facts = place.stat()
                if not place.name.endswith(TEMPORARY):
                    yield place, facts
                elif facts.st_mtime < time.time() - STALE_SECONDS:
                    self._remove(place)

    @staticmethod
    def _remove(place: Path) -> None:
        with contextlib.suppress(OSError):
            place.unlink()


def _written(entry: Entry, trace: str, packer: Packer) -> list[bytes]:
    """An entry as the parts of a file, which tells its own name.

    Raises:
        UnstorableError: a value in it is not kept on the disk.
    """
    tree, arrays = packer.pack(tuple(entry.outputs))
    header: dict[str, Any] = {}
    end = 0
    for number, array in enumerate(arrays):
        start, end = end, end + len(array.data)
        header[str(number)] = {
            "dtype": array.dtype, "shape": list(array.shape), "data_offsets": [start, end],
        }  # fmt: skip
    digests = [entry.digest(index) for index in range(len(entry.outputs))]
    told = {"trace": trace, "tree": tree, "digests": digests}
    metadata = {"entry": json.dumps(told, separators=(",", ":")), "sum": ""}
    header["__metadata__"] = metadata
    data = [bytes(array.data) for array in arrays]
    metadata["sum"] = _sum(header, data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return [len(head).to_bytes(8, "little"), head, *data]


def _read(data: bytearray, trace: str, packer: Packer) -> Entry:
    """The entry of a trace in the bytes of a file.

    Raises:
        CorruptEntryError: it is not what was written.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        if not 0 < length <= min(len(data) - 8, MAX_HEADER_BYTES):
            raise CorruptEntryError("its header is cut")
        header = json.loads(data[8 : 8 + length])
        metadata = header["__metadata__"]
        expected, metadata["sum"] = metadata["sum"], ""
        view = memoryview(data)[8 + length :]
        if _sum(header, [view]) != expected:
            raise CorruptEntryError("its checksum is wrong")
        told = json.loads(metadata["entry"])
        if told["trace"] != trace:
            raise CorruptEntryError("it is another entry")
        arrays = [_array(header[str(number)], view) for number in range(len(header) - 1)]
        outputs = packer.unpack(told["tree"], arrays)
        digests = tuple(told["digests"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptEntryError(f"it is no entry: {error}") from error
    if not isinstance(outputs, tuple) or len(digests) != len(outputs):
        raise CorruptEntryError("it holds no outputs")
    return Entry(outputs, size_of(outputs), digests)


def _array(head: dict[str, Any], view: memoryview) -> Array:
    start, end = head["data_offsets"]
    return Array(head["dtype"], tuple(head["shape"]), view[start:end])


def _sum(header: dict[str, Any], data: list[bytes] | list[memoryview]) -> str:
    sink = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode())
    for part in data:
        sink.update(part)
    return sink.hexdigest()


def _is_digest(text: str) -> bool:
    return len(text) == hashlib.sha256().digest_size * 2 and DIGITS.issuperset(text)
