"""Files inside a folder, reached so that no link below it is ever followed.

Each folder on the way is opened from the one above it, and what is done is done in the opened
folder, so that nothing can be swapped for a link between a check and the deed. Where a system
cannot do that, paths are checked and used.
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

from .workspace import UnsafePathError, safe_path, why_unsafe

BY_FOLDER = {os.open, os.mkdir, os.unlink, os.link, os.rename} <= os.supports_dir_fd
LINKS_AS_THEY_ARE = os.link in os.supports_follow_symlinks
PART = ".latentloom-{}.part"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_PASS = getattr(os, "O_PATH", 0)
"""Opens a folder that may be passed through and perhaps not listed; 0 where systems have none."""


@dataclass(frozen=True)
class Folder:
    """A folder that is open; names in it are plain file names.

    Attributes:
        path: where it is, for messages.
    """

    path: Path
    _handle: int | None = None

    def names(self) -> list[str]:
        """What is in it."""
        with os.scandir(self.path if self._handle is None else self._handle) as found:
            return [entry.name for entry in found]

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file.

        Raises:
            UnsafePathError: it is a link.
            FileNotFoundError: there is no such file.
            ValueError: it is larger than `max_bytes`.
        """
        if self._handle is None:
            return _bounded(os.open(self.path / name, _READ), max_bytes)
        flags = _READ | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(name, flags, dir_fd=self._handle)
        except OSError as error:
            raise _refused(name, error) from error
        return _bounded(file, max_bytes)

    def is_file(self, name: str) -> bool:
        """Whether there is a file, and no link to one."""
        return stat.S_ISREG(self._mode(name))

    def is_link(self, name: str) -> bool:
        """Whether there is a link."""
        return stat.S_ISLNK(self._mode(name))

    @contextmanager
    def temporary_file(self, data: bytes) -> Iterator[str]:
        """A whole file on the disk, under a name of its own that is gone in the end.

        Raises:
            OSError: the folder cannot be written to.
        """
        part = PART.format(secrets.token_hex(8))
        try:
            with os.fdopen(os.open(self._at(part), _NEW, 0o666, dir_fd=self._handle), "wb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            yield part
        finally:
            with suppress(FileNotFoundError):
                self.remove(part)

    def publish(self, part: str, name: str) -> bool:
        """Give a written file its name; False if the name is taken, which is never replaced."""
        return self.link(part, self, name)

    def link(self, name: str, folder: Folder, target: str) -> bool:
        """Give a file a second name; False if the name is taken."""
        how = {"src_dir_fd": self._handle, "dst_dir_fd": folder._handle}
        follow = not LINKS_AS_THEY_ARE
        try:
            os.link(self._at(name), folder._at(target), **how, follow_symlinks=follow)
        except FileExistsError:
            return False
        except OSError:
            return self._claim(name, folder, target)
        return True

    def replace(self, name: str, folder: Folder, target: str) -> None:
        """Give a file another name, in the place of what has it; a link there is replaced itself.

        Raises:
            OSError: there is no such file, or a folder has the name.
        """
        os.replace(
            self._at(name), folder._at(target),
            src_dir_fd=self._handle, dst_dir_fd=folder._handle,
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Delete a file; of a link, the link.

        Raises:
            FileNotFoundError: there is none.
        """
        os.unlink(self._at(name), dir_fd=self._handle)

    def _mode(self, name: str) -> int:
        try:
            return os.stat(self._at(name), dir_fd=self._handle, follow_symlinks=False).st_mode
        except OSError:
            return 0

    def _claim(self, name: str, folder: Folder, target: str) -> bool:
        """The same for file systems without links: claim the name empty, then fill it at once."""
        try:
            os.close(os.open(folder._at(target), _NEW, 0o666, dir_fd=folder._handle))
        except FileExistsError:
            return False
        try:
            self.replace(name, folder, target)
        except OSError:
            folder.remove(target)
            raise
        return True

    def _at(self, name: str) -> str:
        """A name as the system's calls take it here."""
        return name if self._handle is not None else str(self.path / name)


@contextmanager
def open_folder(root: Path, folder: str = "", make: bool = False) -> Iterator[Folder]:
    """A folder inside a root, which may itself be a link.

    Args:
        folder: relative, with slashes; empty for the root.
        make: make what is missing.

    Raises:
        UnsafePathError: as `safe_path`, or a link is on the way.
        FileNotFoundError: there is no such folder.
        OSError: it cannot be made.
    """
    path = safe_path(root, folder) if folder else root.resolve()
    if make:
        root.mkdir(parents=True, exist_ok=True)
    if not BY_FOLDER:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        yield Folder(path)
        return
    flags = os.O_RDONLY | os.O_DIRECTORY
    way = [os.open(root, flags)]
    try:
        for part in PurePosixPath(folder).parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=way[-1])
            try:
                way.append(os.open(part, flags | os.O_NOFOLLOW, dir_fd=way[-1]))
            except OSError as error:
                raise _refused(folder, error) from error
        yield Folder(path, way[-1])
    finally:
        for handle in way:
            os.close(handle)


def split_name(name: str) -> tuple[str, str]:
    """The folder and the file of a relative name.

    Raises:
        UnsafePathError: it may not be used.

    >>> split_name("a/b/c.png"), split_name("c.png")
    (('a/b', 'c.png'), ('', 'c.png'))
    """
    why = why_unsafe(name)
    if why:
        raise UnsafePathError(f"{name[:80]!r} {why}")
    place = PurePosixPath(name)
    return ("" if place.parent == PurePosixPath() else place.parent.as_posix()), place.name


def read_inside(root: Path, name: str, max_bytes: int) -> bytes:
    """The content of a file inside a folder; no link below the folder is followed.

    Raises:
        UnsafePathError: as safe_path, or a link is on the way.
        FileNotFoundError: there is no such file.
        ValueError: it is larger than `max_bytes`.
    """
    safe_path(root, name)
    folder, file = split_name(name)
    with open_folder(root, folder) as place:
        return place.read(file, max_bytes)


def read_resolved(path: Path, max_bytes: int) -> bytes:
    """The content of a file whose path has no link in it, as `Workspace.resolve` gives it.

    Raises:
        OSError: it cannot be read, is larger than `max_bytes`, or a link is on its way now.
    """
    try:
        return _bounded(_open_resolved(path), max_bytes)
    except ValueError as error:
        raise OSError(errno.EFBIG, str(error)) from error


def _open_resolved(path: Path) -> int:
    if not (BY_FOLDER and _PASS):
        return os.open(path, _READ)
    *folders, name = path.absolute().parts
    place = os.open(folders[0], _PASS | os.O_DIRECTORY)
    try:
        for part in folders[1:]:
            above, place = (
                place,
                os.open(part, _PASS | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place),
            )
            os.close(above)
        return os.open(name, _READ | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)


def _refused(name: str, error: OSError) -> Exception:
    """What an open that failed means."""
    if error.errno == errno.ELOOP:
        return UnsafePathError(f"{name[:80]!r} is a link or lies behind one")
    return FileNotFoundError(error.errno, f"there is no {name[:80]!r}")


def _bounded(file: int, max_bytes: int) -> bytes:
    with os.fdopen(file, "rb") as stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError("this is no file")
        if facts.st_size > max_bytes:
            raise ValueError(f"the file has {facts.st_size} bytes; at most {max_bytes} are read")
        return stream.read(max_bytes + 1)
