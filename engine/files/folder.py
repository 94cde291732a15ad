"""Files inside a folder, opened without following any symbolic link below it.

Each folder of a path is opened from the one above it, and files are named inside the opened
folder, so that no attacker can swap in a link between a check and its use. Systems without that
(Windows) check the path, then use it. Where `follows_links` allows links, they are resolved first.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .workspace import (
    FOLLOW_LINKS_HINT,
    UnsafePathError,
    follows_links,
    safe_path,
    why_unsafe,
)

HAS_FOLDER_HANDLES = {os.open, os.mkdir, os.unlink, os.link, os.rename} <= os.supports_dir_fd
CAN_LINK_LINKS = os.link in os.supports_follow_symlinks
TEMPORARY_NAME = ".latentloom-{}.part"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# Opens folders that the user may enter but not list; 0 where the system has no such flag.
_PASS = getattr(os, "O_PATH", 0)


@dataclass(frozen=True)
class Folder:
    """An open folder. Its methods take plain file names, without slashes.

    Attributes:
        path: the folder's path, for messages.
    """

    path: Path
    _handle: int | None = None

    def names(self) -> list[str]:
        """Return the names of the files and folders in it."""
        with os.scandir(self.path if self._handle is None else self._handle) as entries:
            return [entry.name for entry in entries]

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            UnsafePathError: it is a link.
            FileNotFoundError: there is no such file.
            ValueError: it is larger than `max_bytes`.
        """
        if self._handle is None:
            return _read_bounded(os.open(self.path / name, _READ), max_bytes)
        flags = _READ | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(name, flags, dir_fd=self._handle)
        except OSError as error:
            raise _explain(name, error) from error
        return _read_bounded(file, max_bytes)

    def is_file(self, name: str) -> bool:
        """Return whether a name is a regular file; links are not."""
        return stat.S_ISREG(self._mode(name))

    def is_link(self, name: str) -> bool:
        """Return whether a name is a symbolic link."""
        return stat.S_ISLNK(self._mode(name))

    @contextmanager
    def temporary_file(self, data: bytes) -> Iterator[str]:
        """Write a file to disk under a temporary name, yield the name, and delete it at the end.

        `publish` or `replace` gives the file its final name before that.

        Raises:
            OSError: the folder cannot be written to.
        """
        part = TEMPORARY_NAME.format(secrets.token_hex(8))
        try:
            handle = os.open(self._path(part), _NEW, 0o666, dir_fd=self._handle)
            with os.fdopen(handle, "wb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            yield part
        finally:
            with suppress(FileNotFoundError):
                self.remove(part)

    def publish(self, part: str, name: str) -> bool:
        """Give a temporary file its final name; return False, and do nothing, if it is taken."""
        return self.link(part, self, name)

    def link(self, name: str, folder: Folder, target: str) -> bool:
        """Give a file a second name; return False if the name is taken."""
        handles = {"src_dir_fd": self._handle, "dst_dir_fd": folder._handle}
        follow = not CAN_LINK_LINKS
        try:
            os.link(self._path(name), folder._path(target), **handles, follow_symlinks=follow)
        except FileExistsError:
            return False
        except OSError:
            return self._claim(name, folder, target)
        return True

    def replace(self, name: str, folder: Folder, target: str) -> None:
        """Rename a file over another one; a link of the new name is replaced, not followed.

        Raises:
            OSError: there is no such file, or a folder has the new name.
        """
        os.replace(
            self._path(name), folder._path(target),
            src_dir_fd=self._handle, dst_dir_fd=folder._handle,
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Delete a file, or a link itself.

        Raises:
            FileNotFoundError: there is none.
        """
        os.unlink(self._path(name), dir_fd=self._handle)

    def _mode(self, name: str) -> int:
        try:
            return os.stat(self._path(name), dir_fd=self._handle, follow_symlinks=False).st_mode
        except OSError:
            return 0

    def _claim(self, name: str, folder: Folder, target: str) -> bool:
        """Link on file systems without links: create the name empty, then rename over it."""
        try:
            os.close(os.open(folder._path(target), _NEW, 0o666, dir_fd=folder._handle))
        except FileExistsError:
            return False
        try:
            self.replace(name, folder, target)
        except OSError:
            folder.remove(target)
            raise
        return True

    def _path(self, name: str) -> str:
        """Return what the functions of `os` take for a name: relative to the handle, if any."""
        return name if self._handle is not None else str(self.path / name)


@contextmanager
def open_folder(root: Path, folder: str = "", make: bool = False) -> Iterator[Folder]:
    """Open a folder inside a root; the root itself may be a link.

    Args:
        folder: relative path with slashes; empty for the root.
        make: create the folders that are missing.

    Raises:
        UnsafePathError: as `safe_path`, or a folder of the path is a link.
        FileNotFoundError: there is no such folder.
        OSError: a folder cannot be created.
    """
    path = safe_path(root, folder) if folder else root.resolve()
    if make:
        root.mkdir(parents=True, exist_ok=True)
    if folder and follows_links():
        path, root, folder = root.resolve() / folder, path, ""
        if make:
            root.mkdir(parents=True, exist_ok=True)
    if not HAS_FOLDER_HANDLES:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        yield Folder(path)
        return
    flags = os.O_RDONLY | os.O_DIRECTORY
    handles = [os.open(root, flags)]
    try:
        for part in PurePosixPath(folder).parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handles[-1])
            try:
                handles.append(os.open(part, flags | os.O_NOFOLLOW, dir_fd=handles[-1]))
            except OSError as error:
                raise _explain(folder, error) from error
        yield Folder(path, handles[-1])
    finally:
        for handle in handles:
            os.close(handle)


def split_name(name: str) -> tuple[str, str]:
    """Split a relative path into its folder and its file name.

    Raises:
        UnsafePathError: the path may not be used.

    >>> split_name("a/b/c.png"), split_name("c.png")
    (('a/b', 'c.png'), ('', 'c.png'))
    """
    why = why_unsafe(name)
    if why:
        raise UnsafePathError(f"{name[:80]!r} {why}")
    path = PurePosixPath(name)
    return ("" if path.parent == PurePosixPath() else path.parent.as_posix()), path.name


def read_inside(root: Path, name: str, max_bytes: int) -> bytes:
    """Return the content of a file inside a folder; links below it only if `follows_links`.

    Raises:
        UnsafePathError: as `safe_path`, or a part of the path is a link.
        FileNotFoundError: there is no such file.
        ValueError: it is larger than `max_bytes`.
    """
    path = safe_path(root, name)
    folder, file = split_name(name)
    if follows_links():
        root, folder, file = path.parent, "", path.name
    with open_folder(root, folder) as parent:
        return parent.read(file, max_bytes)


def read_resolved(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file whose path has no link in it, as `Workspace.resolve` returns it.

    Raises:
        OSError: it cannot be read, is larger than `max_bytes`, or a part of the path is a link now.
    """
    return _read_or_fail(_open_resolved(path), max_bytes)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file of this project; the file itself may not be a link.

    Raises:
        OSError: it cannot be read, is larger than `max_bytes`, or is a link or a folder.
    """
    return _read_or_fail(_open_unlinked(path), max_bytes)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file of this project for reading; the file itself may not be a link.

    Raises:
        OSError: it cannot be read, or is a link or a folder.
    """
    return _stream(_open_unlinked(path))


def _open_unlinked(path: Path) -> int:
    return os.open(path, _READ | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _read_or_fail(file: int, max_bytes: int) -> bytes:
    try:
        return _read_bounded(file, max_bytes)
    except ValueError as error:
        raise OSError(errno.EFBIG, str(error)) from error


def _open_resolved(path: Path) -> int:
    if not (HAS_FOLDER_HANDLES and _PASS):
        return os.open(path, _READ)
    *folders, name = path.absolute().parts
    flags = _PASS | os.O_DIRECTORY
    folder = os.open(folders[0], flags)
    try:
        for part in folders[1:]:
            parent, folder = folder, os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
            os.close(parent)
        return os.open(name, _READ | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _explain(name: str, error: OSError) -> Exception:
    """Return the error for a path that could not be opened."""
    if error.errno == errno.ELOOP:
        text = f"{name[:80]!r} is a link, or a part of it is; {FOLLOW_LINKS_HINT}"
        return UnsafePathError(text)
    return FileNotFoundError(error.errno, f"there is no {name[:80]!r}")


def _read_bounded(file: int, max_bytes: int) -> bytes:
    """Return the content of an open file, and close it."""
    with _stream(file) as stream:
        size = os.fstat(file).st_size
        if size > max_bytes:
            raise ValueError(f"expected a file of at most {max_bytes} bytes, got {size}")
        return stream.read(max_bytes + 1)


def _stream(file: int) -> BinaryIO:
    """Return an open file as a stream that owns it; close it if it is not a regular file."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)  # `os.fdopen` would raise for a folder, and leave it open
        raise FileNotFoundError(errno.ENOENT, "expected a regular file")
    return os.fdopen(file, "rb")
