"""Files in torch's two formats made by hand, as torch itself would never write them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}


class Canary:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.folder / "canary"),)


def pickle_call(name: str, *arguments: object) -> bytes:
    """Return the pickle of a call of a Python function by its name."""
    module, _, function = name.rpartition(".")
    pushed = b"(" + b"".join(push(argument) for argument in arguments) + b"t"
    return b"\x80\x02c%b\n%b\n%bR." % (module.encode(), function.encode(), pushed)


def push(value: object) -> bytes:
    """Return the instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def push_tensor(
    key: str = "0",
    count: int = 4,
    offset: int = 0,
    shape: Sequence[int] = (4,),
    stride: Sequence[int] = (1,),
    kind: str = "torch\nFloatStorage",
) -> bytes:
    """Return the instructions that push a tensor."""
    storage = b"(" + push("storage") + b"c" + kind.encode() + b"\n" + push(key) + push("cpu")
    rest = push(offset) + push(tuple(shape)) + push(tuple(stride)) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + push(count) + b"tQ" + rest + b"tR"


def pickle_dict(value: bytes, name: str = "a") -> bytes:
    """Return the pickle of a dict with one value, given as its instructions."""
    return b"\x80\x02}" + push(name) + value + b"s."


def tensor_dict(name: str = "a", **options: Any) -> bytes:
    """Return the pickle of a dict with one tensor; options as for `push_tensor`."""
    return pickle_dict(push_tensor(**options), name)


def zip_file(pickled: bytes, data: bytes = bytes(16), **more: bytes) -> bytes:
    """Return a zip as torch makes them, with `more` entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", data)
        for name, content in more.items():
            file.writestr(f"archive/{name}", content)
    return stream.getvalue()


def legacy_file(pickled: bytes, data: bytes = bytes(16), system: object = SYSTEM) -> bytes:
    """Return a file in the legacy format, with one storage of four floats."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, system)]
    keys = pickle.dumps(["0"], 2)
    return b"".join((*parts, pickled, keys, struct.pack("<q", len(data) // 4), data))
