"""The generation of the disk cache: a digest of the code, libraries and switches behind results.

Keys cover the source of a node's own file, but not the code that it calls. Within a process that
code never changes, but a switch can, so that every key covers the switches; on disk, each
generation's results are separate.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..errors import LatentloomError
from ..node.extension import Extension
from ..node.registry import Registry
from .disk import DEFAULT_BYTES, Store
from .fingerprint import Sink
from .gibibytes import GIB, parse_gibibytes
from .packing import Packer

VARIABLE, SIZE_VARIABLE, OFF = "LATENTLOOM_CACHE", "LATENTLOOM_CACHE_GIB", "off"
LENGTH = 16


class CacheSizeError(LatentloomError):
    """The size of the disk cache is not a number of GiB."""


@dataclass(frozen=True)
class ResultDependencies(Extension):
    """Declares what a pack's results depend on, besides the inputs of its nodes.

    Args:
        folders: whose Python source counts.
        libraries: distributions whose version counts.
        switches: environment variables whose value counts.
    """

    folders: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()


def generation(registry: Registry) -> str:
    """Return the digest of all that packs declare; equal on machines that have the same."""
    packs = registry.extensions(ResultDependencies)
    sink = hashlib.sha256()
    _feed_code(packs, sink)
    for library, number in library_versions(packs).items():
        sink.update(f"{library}=={number}\n".encode())
    sink.update(read_switches(switch_names(registry)).encode("utf-8", "surrogateescape"))
    return sink.hexdigest()[:LENGTH]


def code_digest(packs: Iterable[ResultDependencies]) -> str:
    """Return the digest of the source that packs declare; equal on all systems."""
    sink = hashlib.sha256()
    _feed_code(packs, sink)
    return sink.hexdigest()[:LENGTH]


def library_versions(packs: Iterable[ResultDependencies]) -> dict[str, str]:
    """Return the public versions of the libraries that packs declare, sorted by name."""
    names = sorted({library for pack in packs for library in pack.libraries})
    return {library: _version(library) for library in names}


def _feed_code(packs: Iterable[ResultDependencies], sink: Sink) -> None:
    folders = {folder.resolve() for pack in packs for folder in pack.folders}
    for folder in sorted(folders, key=lambda folder: folder.name):
        for file in sorted(folder.rglob("*.py")):
            code = file.read_bytes().replace(b"\r\n", b"\n")
            name = file.relative_to(folder).as_posix()
            sink.update(f"{folder.name}/{name} {len(code)}\n".encode() + code)


def switch_names(registry: Registry) -> tuple[str, ...]:
    """Return the environment variables that packs declare as switches, sorted."""
    packs = registry.extensions(ResultDependencies)
    return tuple(sorted({switch for pack in packs for switch in pack.switches}))


def read_switches(names: Iterable[str]) -> str:
    """Return these environment variables with their present values, one a line."""
    return "".join(f"{name}={os.environ.get(name, '')}\n" for name in names)


def open_store(registry: Registry) -> Store | None:
    """Return the disk cache as the environment sets it; None if it is switched off.

    Args:
        registry: decides the generation, and the types of values that can be stored.

    Raises:
        CacheSizeError: its size is not a number of GiB.
    """
    folder = cache_folder()
    if folder is None:
        return None
    size = os.environ.get(SIZE_VARIABLE, "")
    try:
        budget_bytes = int(parse_gibibytes(size) * GIB) if size else DEFAULT_BYTES
    except ValueError as error:
        raise CacheSizeError(f"{SIZE_VARIABLE}: {error}") from error
    return Store(folder, generation(registry), budget_bytes, packer=Packer.of(registry))


def cache_folder() -> Path | None:
    """Return the folder of the disk cache as the environment sets it; None if it is off."""
    name = os.environ.get(VARIABLE, "")
    if name == OFF:
        return None
    return Path(name).expanduser() if name else default_folder()


def default_folder() -> Path:
    """Return the folder in which programs of this user cache files."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(caches) if caches else Path.home() / ".cache") / "latentloom"


def _version(library: str) -> str:
    """Return the public version; builds for different devices count as equal."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return "absent"
