"""Files in torch's two forms, put together by hand: what torch itself would never write."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}


class Canary:
    """What makes a folder if it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.folder / "canary"),)


def calling(name: str, *arguments: object) -> bytes:
    """The pickle of a call of something of Python's by its name."""
    module, _, function = name.rpartition(".")
    given = b"(" + b"".join(body(each) for each in arguments) + b"t"
    return b"\x80\x02c%b\n%b\n%bR." % (module.encode(), function.encode(), given)


def body(value: object) -> bytes:
    """The instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    key: str = "0",
    count: int = 4,
    offset: int = 0,
    shape: Sequence[int] = (4,),
    stride: Sequence[int] = (1,),
    kind: str = "torch\nFloatStorage",
) -> bytes:
    """The instructions that make a tensor."""
    storage = b"(" + body("storage") + b"c" + kind.encode() + b"\n" + body(key) + body("cpu")
    rest = body(offset) + body(tuple(shape)) + body(tuple(stride)) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + body(count) + b"tQ" + rest + b"tR"


def held(value: bytes, name: str = "a") -> bytes:
    """The pickle of a dict with one value, given as its instructions."""
    return b"\x80\x02}" + body(name) + value + b"s."


def zipped(pickled: bytes, data: bytes = bytes(16), **more: bytes) -> bytes:
    """A zip as torch makes them; `more` are entries beside."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", data)
        for name, content in more.items():
            file.writestr(f"archive/{name}", content)
    return stream.getvalue()


def legacy(pickled: bytes, data: bytes = bytes(16), machine: object = MACHINE) -> bytes:
    """A file of the form before; with one storage of four floats."""
    parts = [pickle.dumps(each, 2) for each in (MAGIC, PROTOCOL, machine)]
    keys = pickle.dumps(["0"], 2)
    return b"".join((*parts, pickled, keys, struct.pack("<q", len(data) // 4), data))
