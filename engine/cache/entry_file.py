"""The file of one entry: the layout of safetensors, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from .memory import Entry, size_of
from .packing import Array, CorruptEntryError, Packer

MAX_HEADER_BYTES = 16 * 2**20


class EntryRecord(NamedTuple):
    """The digests and the notes of an entry, without its outputs; see `memory.Entry`."""

    digests: tuple[str | None, ...]
    notes: Mapping[str, Any] | None


def encode_entry(entry: Entry, input_key: str, packer: Packer) -> list[bytes]:
    """Return the parts of the file, which holds its own input key.

    Raises:
        UnstorableError: a value of the entry cannot be stored.
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
    record = {"input_key": input_key, "tree": tree, "digests": digests}
    if entry.notes:
        record["notes"] = dict(entry.notes)
    metadata = {"entry": json.dumps(record, separators=(",", ":")), "sum": ""}
    header["__metadata__"] = metadata
    data = [bytes(array.data) for array in arrays]
    metadata["sum"] = _checksum(header, data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return [len(head).to_bytes(8, "little"), head, *data]


def read_entry(stream: BinaryIO) -> bytearray:
    """Return the bytes of an entry's file, of which no more are read than its header announces.

    Raises:
        CorruptEntryError: the file is longer or shorter than that.
        OSError: the file cannot be read.
    """
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    try:
        header = json.loads(stream.read(_header_length(length, size)))
        ends = [array["data_offsets"][1] for key, array in header.items() if key != "__metadata__"]
        if 8 + length + max(ends, default=0) != size:
            raise CorruptEntryError("its length is wrong")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CorruptEntryError(f"it is not an entry: {error}") from error
    stream.seek(0)
    data = bytearray(size)
    stream.readinto(data)  # type: ignore[attr-defined]
    return data


def _header_length(length: int, size: int) -> int:
    if not 0 < length <= min(size - 8, MAX_HEADER_BYTES):
        raise CorruptEntryError("its header is cut short")
    return length


def decode_entry(data: bytearray, input_key: str, packer: Packer) -> Entry:
    """Return the entry in the bytes of a file.

    Raises:
        CorruptEntryError: these are not the bytes that were written for this input key.
    """
    try:
        length = _header_length(int.from_bytes(data[:8], "little"), len(data))
        header = json.loads(data[8 : 8 + length])
        metadata = header["__metadata__"]
        expected, metadata["sum"] = metadata["sum"], ""
        view = memoryview(data)[8 + length :]
        if _checksum(header, [view]) != expected:
            raise CorruptEntryError("its checksum is wrong")
        record = json.loads(metadata["entry"])
        if record["input_key"] != input_key:
            raise CorruptEntryError("it is the file of another entry")
        arrays = [_array(header[str(number)], view) for number in range(len(header) - 1)]
        outputs = packer.unpack(record["tree"], arrays)
        digests, notes = _record(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptEntryError(f"it is not an entry: {error}") from error
    if not isinstance(outputs, tuple) or len(digests) != len(outputs):
        raise CorruptEntryError("its outputs are missing")
    return Entry(outputs, size_of(outputs), digests, notes=notes)


def read_record(stream: BinaryIO, input_key: str) -> EntryRecord:
    """Return what an entry's file says of it, from its header alone.

    Raises:
        CorruptEntryError: it is not the file of this input key.
        OSError: the file cannot be read.
    """
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    try:
        header = json.loads(stream.read(_header_length(length, size)))
        record = json.loads(header["__metadata__"]["entry"])
        if record["input_key"] != input_key:
            raise CorruptEntryError("it is the file of another entry")
        return _record(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptEntryError(f"it is not an entry: {error}") from error


def _record(record: Mapping[str, Any]) -> EntryRecord:
    notes = record.get("notes")
    if notes is not None and not isinstance(notes, dict):
        raise CorruptEntryError("its notes are not a mapping")
    return EntryRecord(tuple(record["digests"]), notes)


def _array(head: dict[str, Any], view: memoryview) -> Array:
    start, end = head["data_offsets"]
    return Array(head["dtype"], tuple(head["shape"]), view[start:end])


def _checksum(header: dict[str, Any], data: list[bytes] | list[memoryview]) -> str:
    digest = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode())
    for part in data:
        digest.update(part)
    return digest.hexdigest()
