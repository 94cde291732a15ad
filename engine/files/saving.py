"""Output files: names made of a prefix and a number that counts up; no file is ever replaced."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from ..errors import UnexpectedValueError
from .folder import Folder, open_folder
from .workspace import FOLLOW_LINKS_HINT, UnsafePathError, why_unsafe

MAX_NAME_BYTES = 200
FIRST_SUFFIX = "_00001_.png"
UNUSABLE_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
UNPORTABLE_CHARACTERS = re.compile(r'[<>:"|?*]')
TOKEN = re.compile(r"%(date:[^%]*|width|height|year|month|day|hour|minute|second)%")
DATE_PART = re.compile(r"yyyy|yy|MM|M|dd|d|hh|h|mm|m|ss|s")

NUMBERED = re.compile(r"(.*)_[0-9]+_\.[a-z]+")
COMPARED = MappingProxyType({"ComfyUI_compare_a": "a_images", "ComfyUI_compare_b": "b_images"})
"""Prefixes of images to compare, with the keys under which clients expect these."""


class PrefixError(UnexpectedValueError):
    """A prefix that does not name a file inside the output folder."""


def key_of_image(path: Path) -> str:
    """Return the key under which clients expect a saved image."""
    match = NUMBERED.fullmatch(path.name)
    return COMPARED.get(match[1], "images") if match else "images"


@dataclass(frozen=True)
class Target:
    """The path of numbered files: `root/folder/stem_00001_.png`, `root/folder/stem_00002_.png`."""

    root: Path
    folder: str
    stem: str


def expand_prefix(prefix: str, width: int, height: int, now: datetime) -> str:
    """Replace ComfyUI's tokens: %width%, %height%, %year%, %date:yyyy-MM-dd hh-mm-ss%, ...

    >>> expand_prefix("%date:yyyy-MM%/%width%x%height%", 512, 768, datetime(2024, 5, 6))
    '2024-05/512x768'
    """
    parts = {
        "yyyy": f"{now.year:04}", "yy": f"{now.year % 100:02}", "M": f"{now.month}",
        "d": f"{now.day}", "h": f"{now.hour}", "m": f"{now.minute}", "s": f"{now.second}",
    }  # fmt: skip
    parts |= {part * 2: f"{int(parts[part]):02}" for part in "Mdhms"}
    words = {"width": f"{width}", "height": f"{height}", "year": parts["yyyy"]}
    words |= {"month": parts["MM"], "day": parts["dd"]}
    words |= {"hour": parts["hh"], "minute": parts["mm"], "second": parts["ss"]}

    def fill_in(token: re.Match[str]) -> str:
        word = token.group(1)
        if word.startswith("date:"):
            return DATE_PART.sub(lambda part: parts[part.group()], word.removeprefix("date:"))
        return words[word]

    return TOKEN.sub(fill_in, prefix)


def check_prefix(prefix: str) -> str:
    """Return the relative path that an expanded prefix stands for, with `/` between folders.

    Characters that Windows does not allow in names become `_`, so that a graph gives the same
    names everywhere; so does a first `~`. A drive counts as one before a slash only.

    Raises:
        PrefixError: it is empty, absolute, leaves the folder, or cannot be a name.
    """
    expected = "a file name, optionally with folders, inside the output folder"
    if UNUSABLE_CHARACTERS.search(prefix):
        raise PrefixError(expected, f"{prefix!r}, with control characters")
    path = prefix.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path):
        raise PrefixError(expected, f"{prefix!r}, an absolute path")
    path = posixpath.normpath(UNPORTABLE_CHARACTERS.sub("_", path))
    path = re.sub(r"^~", "_", path)
    if path == ".." or path.startswith("../"):
        raise PrefixError(expected, f"{prefix!r}, which leaves it")
    if path == ".":
        raise PrefixError(expected, f"{prefix!r}, which names no file")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.split("/")):
        raise PrefixError(f"names of at most {MAX_NAME_BYTES} bytes", f"{prefix[:40]!r}...")
    why = why_unsafe(f"{path}{FIRST_SUFFIX}")
    if why:
        raise PrefixError(expected, f"{prefix[:80]!r}, which {why}")
    return path


def prepare_target(prefix: str, root: Path) -> Target:
    """Return the target of an expanded prefix in the output folder, and create its folders.

    Raises:
        PrefixError: it points outside, directly or through a symbolic link.
        OSError: a folder cannot be created.
    """
    folder, stem = posixpath.split(check_prefix(prefix))
    with _open(Target(root, folder, stem)):
        return Target(root, folder, stem)


def next_number(target: Target) -> int:
    """Return one more than the highest number of the files of this stem."""
    pattern = re.compile(re.escape(target.stem) + r"_(\d{1,18})_", re.IGNORECASE)
    with _open(target) as folder:
        matches = [pattern.match(name) for name in folder.names()]
    return max((int(match.group(1)) for match in matches if match), default=0) + 1


def write_numbered(
    target: Target, data: bytes, number: int, suffix: str = ".png"
) -> tuple[Path, int]:
    """Write a file atomically, under the first free number from `number` on.

    Returns:
        The file's path and its number.

    Raises:
        PrefixError: the folder has been replaced by a link.
        OSError: the folder cannot be written to.
    """
    with _open(target) as folder, folder.temporary_file(data) as part:
        while True:
            name = f"{target.stem}_{number:05}_{suffix}"
            if folder.publish(part, name):
                return folder.path / name, number
            number += 1


@contextmanager
def _open(target: Target) -> Iterator[Folder]:
    try:
        with open_folder(target.root, target.folder, make=True) as folder:
            yield folder
    except UnsafePathError as error:
        got = f"{target.folder!r}, which leaves it"
        raise PrefixError("a path inside the output folder", got, FOLLOW_LINKS_HINT) from error
