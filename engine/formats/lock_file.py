"""Lock files: the models, inputs and versions that a graph was locked to, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..files.folder import read_resolved
from .manifest import (
    PORTS,
    PROGRAM,
    SHA256,
    TEXT,
    TEXTS,
    Environment,
    UsedFile,
    check_version,
    environment_to_object,
    read_environment_from,
)
from .parsing import MAX_BYTES, parse_json
from .schema import DRAFT
from .shape import Shape, check_shape

VERSION = 1
SUFFIX = ".lock"
_FILE: Shape = {
    "type": "object",
    "required": ["kind", "names", "sha256", "bytes", "used_by"],
    "additionalProperties": False,
    "properties": {
        "kind": TEXT | {"description": "input, or the folder of a model, such as checkpoints"},
        "names": {"type": "array", "items": TEXT},
        "sha256": SHA256,
        "bytes": {"type": "integer", "minimum": 0},
        "used_by": PORTS,
    },
}
LOCK_SCHEMA: Shape = {
    "$schema": DRAFT,
    "title": "A lock file of Latentloom",
    "type": "object",
    "required": ["latentloom_lock", "program", "libraries", "packs", "switches", "files"],
    "additionalProperties": False,
    "properties": {
        "latentloom_lock": {"const": VERSION},
        "program": PROGRAM,
        "libraries": TEXTS,
        "packs": TEXTS,
        "switches": TEXTS,
        "files": {"type": "array", "items": _FILE},
    },
}


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A file by its content.

    Attributes:
        kind: "input", or the folder of a model file.
        names: under which the graph names it.
        size_bytes: for a folder, of all its files.
        used_by: `node.input`, for each input that names it.
    """

    kind: str
    names: tuple[str, ...]
    sha256: str
    size_bytes: int
    used_by: tuple[str, ...]

    def as_used(self) -> list[UsedFile]:
        """Return it as files of a graph, one for each of its names."""
        return [UsedFile(self.kind, name, self.sha256, self.used_by) for name in self.names]


@dataclass(frozen=True)
class Lock:
    """The files and the environment that a graph was locked to; no machine."""

    files: tuple[LockedFile, ...]
    environment: Environment


def write_lock(lock: Lock) -> str:
    """Return a lock as JSON."""
    environment = environment_to_object(lock.environment)
    del environment["machine"]
    content = {
        "latentloom_lock": VERSION,
        **environment,
        "files": [_file_to_object(file) for file in lock.files],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def parse_lock(text: str) -> Lock:
    """Parse a lock.

    Raises:
        FormatError: it is not one, or of a later version.
    """
    data = parse_json(text)
    check_version(data, "latentloom_lock", VERSION, "the lock")
    check_shape(data, LOCK_SCHEMA, "the lock")
    files = tuple(
        LockedFile(
            kind=item["kind"],
            names=tuple(item["names"]),
            sha256=item["sha256"],
            size_bytes=item["bytes"],
            used_by=tuple(item["used_by"]),
        )
        for item in data["files"]
    )
    return Lock(files, read_environment_from(data))


def read_lock(path: Path) -> Lock:
    """Return the lock in a file.

    Raises:
        FormatError: it is not one.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise FormatError(f"{path}: expected a lock file, got none; write it: latentloom lock FILE")
    try:
        return parse_lock(read_resolved(path.resolve(), MAX_BYTES).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected text in UTF-8: {error.reason}") from error
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def _file_to_object(file: LockedFile) -> Mapping[str, Any]:
    return {
        "kind": file.kind,
        "names": list(file.names),
        "sha256": file.sha256,
        "bytes": file.size_bytes,
        "used_by": list(file.used_by),
    }
