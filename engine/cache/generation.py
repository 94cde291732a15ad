"""What decides results beside a node's inputs: code, libraries, switches. One digest for all.

Keys hold the source of a node's own file, but not what that calls. A process runs one version of
it; a store outlives it, and keeps each version's results apart by this digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..errors import LatentloomError
from .disk import DEFAULT_BYTES, Store
from .gibibytes import GIB, parse_gibibytes

VARIABLE, SIZE_VARIABLE, OFF = "LATENTLOOM_CACHE", "LATENTLOOM_CACHE_GIB", "off"
LENGTH = 16

_folders: set[Path] = set()
_libraries: set[str] = set()
_switches: set[str] = set()


class CacheSizeError(LatentloomError):
    """What was given as the size of the disk tier is none."""


def declare(folder: Path, libraries: Iterable[str] = (), switches: Iterable[str] = ()) -> None:
    """Say what the results of nodes depend on.

    Args:
        folder: the code of a package.
        libraries: distributions whose version counts.
        switches: variables of the environment whose value counts.
    """
    _folders.add(folder.resolve())
    _libraries.update(libraries)
    _switches.update(switches)


def generation() -> str:
    """The digest of all that was declared, the same on every machine that has the same of it."""
    sink = hashlib.sha256()
    for folder in sorted(_folders, key=lambda folder: folder.name):
        for file in sorted(folder.rglob("*.py")):
            code = file.read_bytes().replace(b"\r\n", b"\n")
            name = file.relative_to(folder).as_posix()
            sink.update(f"{folder.name}/{name} {len(code)}\n".encode() + code)
    for library in sorted(_libraries):
        sink.update(f"{library}=={_version(library)}\n".encode())
    for switch in sorted(_switches):
        sink.update(f"{switch}={os.environ.get(switch, '')}\n".encode())
    return sink.hexdigest()[:LENGTH]


def open_store() -> Store | None:
    """The disk tier as the environment sets it; None where it is switched off.

    Raises:
        CacheSizeError: its size is no number of GiB.
    """
    named = os.environ.get(VARIABLE, "")
    if named == OFF:
        return None
    size = os.environ.get(SIZE_VARIABLE, "")
    try:
        budget = int(parse_gibibytes(size) * GIB) if size else DEFAULT_BYTES
    except ValueError as error:
        raise CacheSizeError(f"{SIZE_VARIABLE}: {error}") from error
    folder = Path(named).expanduser() if named else default_folder()
    return Store(folder, generation(), budget)


def default_folder() -> Path:
    """Where programs of this user keep what can be made again."""
    own = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(own) if own else Path.home() / ".cache") / "latentloom"


def _version(library: str) -> str:
    """The public version; builds of one version for other devices count as the same."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return "absent"
