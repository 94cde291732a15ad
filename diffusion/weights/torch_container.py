"""Torch's two forms of weight files: where each storage lies, and what the pickle says. No torch.

The form since torch 1.6 is a zip whose entries are stored as they are; the one before it is five
pickles and the storages after them. All that is read of a file here is its small part.

Source: torch/serialization.py; for the zip APPNOTE.TXT of PKWARE, 4.3 and 4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import SEEK_END, BytesIO, FileIO
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile
from zlib import crc32

from .pickled_values import DAMAGED, UnsafePickleError, printable, require_type
from .tensor_info import DTYPE_BYTES
from .torch_pickle import read_pickle

MAX_BYTES = 2**24
ZIP, PICKLE, TAR, END = b"PK\x03\x04", b"\x80", b"ustar", b"PK\x05\x06"
DATA = "data/"
# The head before an entry: what it begins with, and the lengths of its name and more.
LOCAL = struct.Struct("<4s22xHH")
ENCRYPTED, WITH_SUM, UNICODE = 0x1, 0x8, 0x800
# Behind an entry of torch's: its sum, and its sizes in four or eight bytes.
SUM, BETWEEN = b"PK\x07\x08", (16, 24)
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
COUNT = struct.Struct("<q")


class ByteRange(NamedTuple):
    """Bytes of a file."""

    start: int
    size: int


class TorchContainer(NamedTuple):
    """A file's small part.

    Attributes:
        said: what the pickle says.
        extents: of the storages, by their keys.
        pickle: the bytes of it.
    """

    said: object
    extents: Mapping[str, ByteRange]
    pickle: bytes


def read_container(path: Path) -> TorchContainer:
    """The small part of a file, checked against its size.

    Raises:
        UnsafePickleError: it is no file of torch's, or asks for more than weights need.
        ValueError, LookupError, RuntimeError, EOFError, struct.error, BadZipFile: it is damaged.
        OSError: it cannot be read.
    """
    with _Sparing(path) as stream:
        head = stream.read(512)
        if head.startswith(ZIP):
            return _zip(stream)
        if head.startswith(PICKLE):
            return _legacy(stream)
    if head[257:262] == TAR:
        raise UnsafePickleError("it is in the tar form of torch before 0.1.10; save it anew")
    if head[8:9] == b"{":
        raise UnsafePickleError("it is a safetensors file; rename it to .safetensors")
    raise UnsafePickleError("it is neither of torch's two forms")


class _Sparing(FileIO):
    """A file of which no more than a small part is read at once, whatever it says of sizes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_BYTES:
            raise UnsafePickleError(f"it says {size:,} bytes of a part that is small in any model")
        return super().read(-1 if size is None else size) or b""

    def part(self, extent: ByteRange) -> bytes:
        """These bytes, which must all be there."""
        self.seek(extent.start)
        data = self.read(extent.size)
        if len(data) != extent.size:
            raise UnsafePickleError("it is cut short")
        return data


def _zip(stream: _Sparing) -> TorchContainer:
    end = stream.seek(0, SEEK_END)
    last = stream.part(ByteRange(max(end - len(END) - 18, 0), len(END) + 18))
    if not last.startswith(END) or last[-2:] != bytes(2):
        raise UnsafePickleError("it is cut short, or has something behind its end")
    with ZipFile(stream) as file:
        entries = {entry.filename: entry for entry in file.infolist()}
        extents = _extents(stream, file)
    tops = {name.partition("/")[0] for name in extents}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    inner = {name.removeprefix(top): extent for name, extent in extents.items()}
    if not top or "data.pkl" not in inner:
        raise UnsafePickleError("it is a zip, and none that torch makes of weights")
    if "constants.pkl" in inner:
        raise UnsafePickleError("it is a program of TorchScript, not weights")
    if "byteorder" in inner and stream.part(inner["byteorder"]) != b"little":
        raise UnsafePickleError("its numbers are big-endian")
    pickle = stream.part(inner["data.pkl"])
    if crc32(pickle) != entries[f"{top}data.pkl"].CRC:
        raise UnsafePickleError(DAMAGED)
    small = BytesIO(pickle)
    said = read_pickle(small)
    if small.read(1):
        raise UnsafePickleError("it has something behind its pickle")
    data = {name.removeprefix(DATA): each for name, each in inner.items() if name.startswith(DATA)}
    return TorchContainer(said.value, data, pickle)


def _extents(stream: _Sparing, file: ZipFile) -> dict[str, ByteRange]:
    """Where each entry's content lies: one after another, each under one name, and no more."""
    found: dict[str, ByteRange] = {}
    end, behind = 0, b""
    for entry in sorted(file.infolist(), key=lambda entry: entry.header_offset):
        name = printable(entry.filename)
        if entry.compress_type or entry.flag_bits & ENCRYPTED:
            raise UnsafePickleError(f"its part {name} is compressed or encrypted")
        data = entry.orig_filename.encode("utf-8" if entry.flag_bits & UNICODE else "cp437")
        head = _after(stream, end, behind, entry.header_offset, LOCAL.size + len(data))
        mark, length, more = LOCAL.unpack_from(head)
        if (mark, length, head[LOCAL.size :]) != (ZIP, len(data), data):
            raise UnsafePickleError(f"its part {name} goes by two names")
        if entry.filename in found or entry.file_size != entry.compress_size:
            raise UnsafePickleError(f"its part {name} is there twice, or of two sizes")
        start = entry.header_offset + len(head) + int(more)
        found[entry.filename] = ByteRange(start, entry.file_size)
        end = start + entry.file_size
        behind = SUM + entry.CRC.to_bytes(4, "little") if entry.flag_bits & WITH_SUM else b""
    _after(stream, end, behind, file.start_dir, 0)
    return found


def _after(stream: _Sparing, end: int, behind: bytes, start: int, size: int) -> bytes:
    """What is read at `start`; between it and `end` there is nothing but this, and sizes."""
    between = start - end
    if between not in (BETWEEN if behind else (0,)):
        raise UnsafePickleError("its parts overlap or leave gaps")
    data = stream.part(ByteRange(end, between + size))
    if not data.startswith(behind):
        raise UnsafePickleError("its parts overlap or leave gaps")
    return data[between:]


def _legacy(stream: _Sparing) -> TorchContainer:
    end = stream.seek(0, SEEK_END)
    start = stream.part(ByteRange(0, min(end, MAX_BYTES)))
    small = BytesIO(start)
    if read_pickle(small).value != MAGIC or read_pickle(small).value != PROTOCOL:
        raise UnsafePickleError("it is a pickle, and none that torch makes of weights")
    machine = require_type(read_pickle(small).value, dict)
    if machine.get("little_endian") is not True:
        raise UnsafePickleError("its numbers are big-endian")
    said = read_pickle(small)
    keys = require_type(read_pickle(small).value, list)
    pickle = start[: small.tell()]
    extents: dict[str, ByteRange] = {}
    at = len(pickle)
    for key in keys:
        storage = said.storages[require_type(key, str)]
        (count,) = COUNT.unpack(stream.part(ByteRange(at, COUNT.size)))
        if key in extents or count != storage.count:
            raise UnsafePickleError(DAMAGED)
        extents[key] = ByteRange(at + COUNT.size, count * DTYPE_BYTES[storage.dtype])
        at = sum(extents[key])
    if at != end:
        wrong = "is cut short" if end < at else "has something behind its weights"
        raise UnsafePickleError(f"it {wrong}: expected {at} bytes, has {end}")
    return TorchContainer(said.value, extents, pickle)
