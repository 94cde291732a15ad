"""The folders of a run, and the files in them that a graph may name.

Graphs are shared between people, so a name in a graph may not leave these folders. Only paths
that the user gave on the command line may be anywhere, and where the user says so, what links
inside the folders lead to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

FOLLOW_LINKS_VARIABLE = "LATENTLOOM_FOLLOW_LINKS"
FOLLOW_LINKS_HINT = "--follow-links allows links that lead out"
MAX_NAME_LENGTH = 255
MAX_PATH_LENGTH = 1024
MAX_NAMES = 5000
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\u202a-\u202e\u2066-\u2069]')
_ANNOTATED = re.compile(r"^(.*) \[(input|output|temp)\]$")


class UnsafePathError(ValueError):
    """A file name that may not be used."""


@dataclass(frozen=True)
class Workspace:
    """The folders of a run.

    Attributes:
        graph_dir: the folder of the graph file, searched first for input files.
        input_dir: the folder searched next.
        output_dir: the folder that output nodes write to.
        temp_dir: the folder of previews; None for a temporary folder of the system.
        library_dir: the shipped graphs, searched last for their input images.
        granted: paths that the user named, which may be anywhere.
        embeds_graph: saved images carry the graph that made them, and their manifest.
        writes_manifests: a file beside each saved file holds its manifest, with times.
    """

    graph_dir: Path | None = None
    input_dir: Path = field(default_factory=lambda: Path("input"))
    output_dir: Path = field(default_factory=lambda: Path("output"))
    temp_dir: Path | None = None
    library_dir: Path | None = None
    granted: frozenset[Path] = frozenset()
    embeds_graph: bool = True
    writes_manifests: bool = False

    def resolve(self, kind: str, name: str) -> Path:
        """Return the path of a file that a graph names, links resolved.

        Args:
            kind: "input", or "output" for a file that was saved; other kinds are resolved by the
                port that declares them.
            name: path relative to a folder, with slashes, or backslashes as on Windows; ComfyUI's
                suffix ` [output]` chooses the folder.

        Raises:
            UnsafePathError: the name leaves the folders, or is not allowed as a file name.
            FileNotFoundError: there is no such file.
        """
        given = Path(name)
        if given in self.granted or given.absolute() in self.granted:
            if not given.is_file():
                raise FileNotFoundError(f"there is no file {name}")
            return given.resolve()
        name, kind_of_folder = split_annotated(name.replace("\\", "/"))
        by_kind = {"output": self.output_dir, "temp": self.temp_dir, "input": self.input_dir}
        folders = self._folders(kind)
        if kind_of_folder:
            folders = [by_kind[kind_of_folder]]
        for folder in folders:
            if folder is not None and (path := safe_path(folder, name)).is_file():
                return path
        searched = " or ".join(str(folder) for folder in folders if folder is not None)
        raise FileNotFoundError(f"there is no {kind} file {name!r} in {searched}")

    def names(self, kind: str) -> Sequence[str]:
        """Return names of files that a graph may name, MAX_NAMES at most, for suggestions."""
        folders = [folder for folder in self._folders(kind) if folder is not None]
        files = (name for folder in folders for name in _names_in(folder))
        return tuple(dict.fromkeys(islice(files, MAX_NAMES)))

    def _folders(self, kind: str) -> list[Path | None]:
        inputs = [self.graph_dir, self.input_dir, self.library_dir]
        return [self.output_dir] if kind == "output" else inputs


def _names_in(folder: Path) -> Iterator[str]:
    """Yield the paths of a folder's files relative to it, those of hidden folders aside."""
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            yield (Path(at) / name).relative_to(folder).as_posix()


def split_annotated(name: str) -> tuple[str, str]:
    """Split ComfyUI's `name [folder]` into the name and the folder it chooses; "" if none.

    >>> split_annotated("a.png [output]"), split_annotated("a.png")
    (('a.png', 'output'), ('a.png', ''))
    """
    match = _ANNOTATED.match(name)
    return (match[1], match[2]) if match else (name, "")


def follows_links() -> bool:
    """Return whether the user allows links inside the folders that lead out of them."""
    return os.environ.get(FOLLOW_LINKS_VARIABLE, "") not in ("", "0")


def safe_path(root: Path, name: str) -> Path:
    """Return the path of a name inside a folder, links resolved.

    Raises:
        UnsafePathError: the name is absolute, leaves the folder, follows a link out of it that
            `follows_links` does not allow, or is not allowed on some system.
    """
    why = why_unsafe(name)
    if why:
        raise UnsafePathError(f"{name[:80]!r} {why}; name a file inside {root.name or root}")
    try:
        base = root.resolve()
        path = (base / name).resolve()
    except RuntimeError as error:
        raise UnsafePathError(f"{name[:80]!r} is a link that leads to itself") from error
    if not path.is_relative_to(base) and not follows_links():
        text = f"{name[:80]!r} is a link out of {root.name or root}; {FOLLOW_LINKS_HINT}"
        raise UnsafePathError(text)
    return path


def why_unsafe(name: str) -> str:
    """Return why a relative path may not be used, as the end of a sentence; empty if it may."""
    if not name or len(name) > MAX_PATH_LENGTH:
        return "is empty" if not name else "is too long"
    if _FORBIDDEN.search(name):
        return "has a character that is not allowed in file names"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if name.startswith(("/", "~")):
        return "is not relative"
    parts = PurePosixPath(name).parts
    if not parts:
        return "names no file"
    for part in parts:
        if part == ".." or part.strip(". ") == "":
            return "leaves its folder"
        if part != part.rstrip(". "):
            return "has a part that ends in a dot or space"
        if _RESERVED.match(part):
            return "is a reserved name"
        if len(part.encode()) > MAX_NAME_LENGTH:
            return "has a part that is too long"
    return ""
