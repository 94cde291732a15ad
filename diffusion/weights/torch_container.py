"""The two container formats of torch's weight files. No torch here.

Since torch 1.6 a file is a zip whose entries are uncompressed; before, it was five pickles and
the storages after them. Only the small parts of a file are read here: its directory and pickles.

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

from ..families.tensor_info import DTYPE_BYTES
from .pickled_values import DamagedPickleError, UnsafePickleError, printable, require_type
from .torch_pickle import read_pickle

MAX_SMALL_PART_BYTES = 2**24
ZIP_MAGIC, ZIP_END_MAGIC = b"PK\x03\x04", b"PK\x05\x06"
PICKLE_MAGIC, TAR_MAGIC = b"\x80", b"ustar"
ZIP_END_BYTES = 22
DATA = "data/"
# A local file header: its magic, and the lengths of the entry's name and of its extra field.
LOCAL_HEADER = struct.Struct("<4s22xHH")
ENCRYPTED, HAS_DESCRIPTOR, IS_UTF8 = 0x1, 0x8, 0x800
# The data descriptor after an entry: a checksum, and its sizes in four or eight bytes each.
DESCRIPTOR_MAGIC, DESCRIPTOR_BYTES = b"PK\x07\x08", (16, 24)
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
COUNT = struct.Struct("<q")


class ByteRange(NamedTuple):
    """A range of bytes in a file."""

    start: int
    size: int


class TorchContainer(NamedTuple):
    """A torch file without its weights.

    Attributes:
        value: the content of its pickle.
        storages: the bytes of each storage, by key.
        pickle: the pickle as bytes.
    """

    value: object
    storages: Mapping[str, ByteRange]
    pickle: bytes


def read_container(path: Path) -> TorchContainer:
    """Read the small parts of a file, checked against the file's size.

    Raises:
        UnsafePickleError: it is not a torch file, or does more than weights need.
        ValueError, LookupError, RuntimeError, EOFError, struct.error, BadZipFile: it is damaged.
        OSError: it cannot be read.
    """
    with _BoundedFile(path) as stream:
        head = stream.read(512)
        if head.startswith(ZIP_MAGIC):
            return _read_zip(stream)
        if head.startswith(PICKLE_MAGIC):
            return _read_legacy(stream)
    if head[257:262] == TAR_MAGIC:
        raise UnsafePickleError("it is in the tar format of torch before 0.1.10; save it again")
    if head[8:9] == b"{":
        raise UnsafePickleError("it is a safetensors file; rename it to .safetensors")
    raise UnsafePickleError("it is in neither of torch's two formats")


class _BoundedFile(FileIO):
    """A file that is read in small parts only, whatever sizes it claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_SMALL_PART_BYTES:
            raise UnsafePickleError(
                f"it claims {size:,} bytes for a part that is small in every model"
            )
        return super().read(-1 if size is None else size) or b""

    def read_range(self, span: ByteRange) -> bytes:
        """Read a range of bytes, all of which must be there."""
        self.seek(span.start)
        data = self.read(span.size)
        if len(data) != span.size:
            raise UnsafePickleError("it is cut short")
        return data


def _read_zip(stream: _BoundedFile) -> TorchContainer:
    size = stream.seek(0, SEEK_END)
    end = stream.read_range(ByteRange(max(size - ZIP_END_BYTES, 0), ZIP_END_BYTES))
    if not end.startswith(ZIP_END_MAGIC) or end[-2:] != bytes(2):
        raise UnsafePickleError("it is cut short, or has data after its end")
    with ZipFile(stream) as file:
        entries = {entry.filename: entry for entry in file.infolist()}
        ranges = _locate_entries(stream, file)
    tops = {name.partition("/")[0] for name in ranges}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    inner = {name.removeprefix(top): span for name, span in ranges.items()}
    if not top or "data.pkl" not in inner:
        raise UnsafePickleError("it is a zip without weights in torch's layout")
    if "constants.pkl" in inner:
        raise UnsafePickleError("it is a TorchScript program, not weights")
    if "byteorder" in inner and stream.read_range(inner["byteorder"]) != b"little":
        raise UnsafePickleError("its numbers are big-endian")
    pickle = stream.read_range(inner["data.pkl"])
    if crc32(pickle) != entries[f"{top}data.pkl"].CRC:
        raise DamagedPickleError
    pickle_stream = BytesIO(pickle)
    contents = read_pickle(pickle_stream)
    if pickle_stream.read(1):
        raise UnsafePickleError("it has data after its pickle")
    storages = {
        name.removeprefix(DATA): span for name, span in inner.items() if name.startswith(DATA)
    }
    return TorchContainer(contents.value, storages, pickle)


def _locate_entries(stream: _BoundedFile, file: ZipFile) -> dict[str, ByteRange]:
    """Return the content of each entry: contiguous, and with the same name in both headers."""
    ranges: dict[str, ByteRange] = {}
    end, descriptor = 0, b""
    for entry in sorted(file.infolist(), key=lambda entry: entry.header_offset):
        label = printable(entry.filename)
        if entry.compress_type or entry.flag_bits & ENCRYPTED:
            raise UnsafePickleError(f"its part {label} is compressed or encrypted")
        name = entry.orig_filename.encode("utf-8" if entry.flag_bits & IS_UTF8 else "cp437")
        header = _read_next(
            stream, end, descriptor, entry.header_offset, LOCAL_HEADER.size + len(name)
        )
        magic, name_length, extra_length = LOCAL_HEADER.unpack_from(header)
        if (magic, name_length, header[LOCAL_HEADER.size :]) != (ZIP_MAGIC, len(name), name):
            raise UnsafePickleError(f"its part {label} has two names")
        if entry.filename in ranges or entry.file_size != entry.compress_size:
            raise UnsafePickleError(f"its part {label} is there twice, or has two sizes")
        start = entry.header_offset + len(header) + int(extra_length)
        ranges[entry.filename] = ByteRange(start, entry.file_size)
        end = start + entry.file_size
        has_descriptor = entry.flag_bits & HAS_DESCRIPTOR
        descriptor = DESCRIPTOR_MAGIC + entry.CRC.to_bytes(4, "little") if has_descriptor else b""
    _read_next(stream, end, descriptor, file.start_dir, 0)
    return ranges


def _read_next(stream: _BoundedFile, end: int, descriptor: bytes, start: int, size: int) -> bytes:
    """Read `size` bytes at `start`; only a data descriptor may lie between `end` and `start`.

    Args:
        descriptor: what the descriptor begins with; empty where there must be none.
    """
    gap = start - end
    if gap not in (DESCRIPTOR_BYTES if descriptor else (0,)):
        raise UnsafePickleError("its parts overlap or leave gaps")
    data = stream.read_range(ByteRange(end, gap + size))
    if not data.startswith(descriptor):
        raise UnsafePickleError("its parts overlap or leave gaps")
    return data[gap:]


def _read_legacy(stream: _BoundedFile) -> TorchContainer:
    size = stream.seek(0, SEEK_END)
    start = stream.read_range(ByteRange(0, min(size, MAX_SMALL_PART_BYTES)))
    pickles = BytesIO(start)
    magic = read_pickle(pickles).value
    if magic != LEGACY_MAGIC or read_pickle(pickles).value != LEGACY_PROTOCOL:
        raise UnsafePickleError("it is a pickle without weights in torch's layout")
    system = require_type(read_pickle(pickles).value, dict)
    if system.get("little_endian") is not True:
        raise UnsafePickleError("its numbers are big-endian")
    contents = read_pickle(pickles)
    keys = require_type(read_pickle(pickles).value, list)
    pickle = start[: pickles.tell()]
    storages: dict[str, ByteRange] = {}
    end = len(pickle)
    for key in keys:
        storage = contents.storages[require_type(key, str)]
        (count,) = COUNT.unpack(stream.read_range(ByteRange(end, COUNT.size)))
        if key in storages or count != storage.count:
            raise DamagedPickleError
        storages[key] = ByteRange(end + COUNT.size, count * DTYPE_BYTES[storage.dtype])
        end = sum(storages[key])
    if end != size:
        problem = "is cut short" if size < end else "has data after its weights"
        raise UnsafePickleError(f"it {problem}: expected {end} bytes, has {size}")
    return TorchContainer(contents.value, storages, pickle)
