"""Files out: names from a prefix, numbers that count on, writes that never replace. No torch."""

from __future__ import annotations

import os
import posixpath
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

MAX_NAME_BYTES = 200
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
UNPORTABLE = re.compile(r'[<>:"|?*]')
TOKEN = re.compile(r"%(date:[^%]*|width|height|year|month|day|hour|minute|second)%")
DATE_PART = re.compile(r"yyyy|yy|MM|M|dd|d|hh|h|mm|m|ss|s")


class PrefixError(ValueError):
    """A prefix that names no place inside the output folder: what was wanted and what came."""

    def __init__(self, wanted: str, got: str) -> None:
        super().__init__(f"wants {wanted}, got {got}")
        self.wanted, self.got = wanted, got


@dataclass(frozen=True)
class Target:
    """Where numbered files go: `folder/stem_00001_.png`, `folder/stem_00002_.png`, ..."""

    folder: Path
    stem: str


def expand_prefix(prefix: str, width: int, height: int, now: datetime) -> str:
    """Replace ComfyUI's tokens: %width%, %height%, %date:yyyy-MM-dd hh-mm-ss%, %year%, ...

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

    def value(token: re.Match[str]) -> str:
        word = token.group(1)
        if word.startswith("date:"):
            return DATE_PART.sub(lambda part: parts[part.group()], word.removeprefix("date:"))
        return words[word]

    return TOKEN.sub(value, prefix)


def check_prefix(prefix: str) -> str:
    """The relative path that an expanded prefix means, with `/` between folders.

    Characters that Windows does not take in names become `_`, so that a graph gives the same
    names everywhere.

    Raises:
        PrefixError: it is empty, absolute, leaves the folder, or cannot be a name.
    """
    wanted = "a file name, perhaps with folders, inside the output folder"
    if CONTROL.search(prefix) or any("\ud800" <= letter <= "\udfff" for letter in prefix):
        raise PrefixError(wanted, f"{prefix!r}, with control characters")
    path = prefix.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise PrefixError(wanted, f"{prefix!r}, an absolute path")
    path = posixpath.normpath(UNPORTABLE.sub("_", path))
    if path == ".." or path.startswith("../"):
        raise PrefixError(wanted, f"{prefix!r}, which leaves it")
    if path == ".":
        raise PrefixError(wanted, f"{prefix!r}, which names no file")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.split("/")):
        raise PrefixError(f"names of at most {MAX_NAME_BYTES} bytes", f"{prefix[:40]!r}...")
    return path


def place(prefix: str, folder: Path) -> Target:
    """Where an expanded prefix points to in the output folder; makes the folders it needs.

    Raises:
        PrefixError: it points outside, also by way of a symbolic link.
        OSError: a folder cannot be made.
    """
    path = check_prefix(prefix)
    root = folder.resolve()
    target = root.joinpath(*path.split("/")).parent.resolve()
    if not target.is_relative_to(root):
        raise PrefixError("a place inside the output folder", f"{prefix!r}, which leaves it")
    target.mkdir(parents=True, exist_ok=True)
    return Target(target, posixpath.basename(path))


def next_number(target: Target) -> int:
    """One more than the highest number that files of this stem have."""
    pattern = re.compile(re.escape(target.stem) + r"_(\d{1,18})_", re.IGNORECASE)
    found = (pattern.match(entry.name) for entry in os.scandir(target.folder))
    return max((int(match.group(1)) for match in found if match), default=0) + 1


def write_numbered(
    target: Target, data: bytes, number: int, suffix: str = ".png"
) -> tuple[Path, int]:
    """Write a file under the first free number from `number` on; it appears whole or not at all.

    Returns:
        Its path and its number.

    Raises:
        OSError: the folder cannot be written to.
    """
    part = target.folder / f".latentloom-{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(part, NEW_FILE, 0o666), "wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        while True:
            path = target.folder / f"{target.stem}_{number:05}_{suffix}"
            if _publish(part, path):
                return path, number
            number += 1
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, path: Path) -> bool:
    """Give a finished file its name; False if the name is taken, which is never replaced."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:
        return _claim(part, path)
    return True


def _claim(part: Path, path: Path) -> bool:
    """The same for file systems without hard links: claim the name empty, then fill it at once."""
    try:
        os.close(os.open(path, NEW_FILE, 0o666))
    except FileExistsError:
        return False
    try:
        part.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True
