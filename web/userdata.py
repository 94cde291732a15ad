"""Routes of user data: settings, workflows and other files, and the user."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import mimetypes
import os
from collections.abc import Callable, Iterator
from errno import ENOENT
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from latentloom.engine.errors import FormatError
from latentloom.engine.files.folder import Folder, open_folder, read_inside, split_name
from latentloom.engine.files.workspace import UnsafePathError, safe_path
from latentloom.engine.formats.parsing import parse_json

from .files import write_file
from .routes import (
    RequestError,
    Routes,
    answer,
    done,
    read_bytes,
    read_json,
    read_object,
    storage_error,
)
from .site import Site

routes = Routes()
MAX_FILE_BYTES = 64 * 2**20
MAX_SETTINGS_BYTES = 4 * 2**20
MAX_LISTED = 10_000
SETTINGS = "comfy.settings.json"
INLINE = {"user.css": "text/css"}


@routes.add("GET", "/users", "The users: a single one without a name")
async def users(site: Site, request: web.Request) -> web.Response:
    return answer({"storage": "server", "migrated": True})


@routes.add("POST", "/users", "Add a user; always rejected, the server has one user", body="json")
async def add_user(site: Site, request: web.Request) -> web.Response:
    await read_object(request)
    raise RequestError(400, "this server has one user")


@routes.add("GET", "/settings", "All settings")
async def settings(site: Site, request: web.Request) -> web.Response:
    return answer(await asyncio.to_thread(_read_settings, site))


@routes.add("GET", "/settings/{id}", "One setting, null if it is not set")
async def setting(site: Site, request: web.Request) -> web.Response:
    settings = await asyncio.to_thread(_read_settings, site)
    return answer(settings.get(request.match_info["id"]))


@routes.add("POST", "/settings", "Change settings", body="raw")
async def change_settings(site: Site, request: web.Request) -> web.Response:
    await _change_settings(site, dict(await read_object(request)))
    return done()


@routes.add(
    "POST", "/settings/{id}", "Change one setting to the JSON value of the body", body="raw"
)
async def change_setting(site: Site, request: web.Request) -> web.Response:
    await _change_settings(site, {request.match_info["id"]: await read_json(request)})
    return done()


@routes.add("GET", "/userdata", "The files in a folder of the user")
async def list_files(site: Site, request: web.Request) -> web.Response:
    query = request.query
    folder = _inside(site, query.get("dir", ""), "dir")
    paths = await asyncio.to_thread(_list, folder, _yes(query.get("recurse")))
    if _yes(query.get("full_info")):
        return answer(await asyncio.to_thread(_file_entries, paths, folder))
    names = [path.relative_to(folder).as_posix() for path in paths]
    if _yes(query.get("split")):
        return answer([[name, *name.split("/")] for name in names])
    return answer(names)


@routes.add("GET", "/v2/userdata", "The files and folders in a folder of the user")
async def list_entries(site: Site, request: web.Request) -> web.Response:
    path = request.query.get("path", "")
    root = site.user_dir.resolve()
    folder = _inside(site, path, "path") if path else root
    return answer(await asyncio.to_thread(_entries, folder, root))


@routes.add("GET", "/userdata/{file}", "A file of the user")
async def read_file(site: Site, request: web.Request) -> web.Response:
    name = _name(request, "file")
    try:
        data = await asyncio.to_thread(read_inside, site.user_dir, name, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        if name not in INLINE:
            raise RequestError(404, f"there is no file {name[:80]!r}") from error
        data = b""
    except UnsafePathError as error:
        raise RequestError(403, str(error)) from error
    kind = INLINE.get(name)
    if kind is None:
        guessed = mimetypes.guess_type(name)[0]
        kind = guessed if guessed == "application/json" else "application/octet-stream"
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}
    if name not in INLINE:
        headers["Content-Disposition"] = "attachment"
    return web.Response(body=data, content_type=kind, headers=headers)


@routes.add("GET", "/user.css", "The user's stylesheet for the editor")
async def user_style(site: Site, request: web.Request) -> web.Response:
    try:
        data = await asyncio.to_thread(read_inside, site.user_dir, "user.css", MAX_FILE_BYTES)
    except (OSError, ValueError):
        data = b""
    return web.Response(body=data, content_type="text/css")


@routes.add("POST", "/userdata/{file}", "Write a file of the user", body="raw")
async def store_file(site: Site, request: web.Request) -> web.Response:
    name, query = _name(request, "file"), request.query
    path = _inside(site, name, "file")
    folder, file = split_name(name)
    data = await read_bytes(request, MAX_FILE_BYTES)
    replace = query.get("overwrite", "true") != "false"

    def store() -> None:
        with (
            open_folder(site.user_dir, folder, make=True) as parent,
            parent.temporary_file(data) as part,
        ):
            if replace:
                parent.replace(part, parent, file)
            elif not parent.publish(part, file):
                raise RequestError(409, f"there is a file {name[:80]!r}")

    await _change_files(name, store)
    return _stored(site, path, query.get("full_info"))


@routes.add("DELETE", "/userdata/{file}", "Delete a file of the user")
async def delete_file(site: Site, request: web.Request) -> web.Response:
    name = _name(request, "file")
    _inside(site, name, "file")
    folder, file = split_name(name)

    def remove() -> None:
        with open_folder(site.user_dir, folder) as parent:
            _check_file(parent, file)
            parent.remove(file)

    await _change_files(name, remove)
    return done(204)


@routes.add("POST", "/userdata/{file}/move/{dest}", "Rename a file of the user")
async def move_file(site: Site, request: web.Request) -> web.Response:
    name, query = _name(request, "file"), request.query
    dest = _name(request, "dest")
    _inside(site, name, "file")
    target = _inside(site, dest, "dest")
    (folder, file), (new_folder, new_file) = split_name(name), split_name(dest)
    replace = query.get("overwrite", "true") != "false"

    def move() -> None:
        with open_folder(site.user_dir, folder) as parent:
            _check_file(parent, file)
            with open_folder(site.user_dir, new_folder, make=True) as new_parent:
                if replace:
                    parent.replace(file, new_parent, new_file)
                elif not parent.link(file, new_parent, new_file):
                    raise RequestError(409, f"there is a file {new_file[:80]!r}")
                elif parent.is_file(file):
                    parent.remove(file)

    await _change_files(name, move)
    return _stored(site, target, query.get("full_info"))


def file_entry(path: Path, root: Path) -> dict[str, Any]:
    """Return a file as the editor lists it; times in ms."""
    stat = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": stat.st_size,
        "modified": stat.st_mtime_ns // 1_000_000,
        "created": stat.st_ctime_ns // 1_000_000,
    }


def _stored(site: Site, path: Path, full: str | None) -> web.Response:
    entry = file_entry(path, site.user_dir.resolve())
    return answer(entry if _yes(full) else entry["path"])


def _inside(site: Site, name: str, what: str) -> Path:
    """Return the path of a name in the user's folder; it need not exist."""
    if not name:
        raise RequestError(400, f"{what} is missing")
    try:
        return safe_path(site.user_dir, name.strip("/") if what in ("dir", "path") else name)
    except UnsafePathError as error:
        raise RequestError(403, str(error)) from error


def _check_file(folder: Folder, name: str) -> None:
    if not folder.is_file(name):
        raise FileNotFoundError(ENOENT, "there is no such file")


def _name(request: web.Request, part: str) -> str:
    """Return a file name from the path of a request, with its slashes, decoded once."""
    name = request.match_info[part]
    if unquote(name) != name and ("/" in unquote(name) or ".." in unquote(name)):
        raise RequestError(403, f"{name[:80]!r} is percent-encoded twice")
    return name


def _yes(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1")


def _list(folder: Path, recurse: bool) -> list[Path]:
    if not folder.is_dir():
        raise RequestError(404, "there is no such folder")
    entries = itertools.islice(_scan(folder, recurse), MAX_LISTED)
    return sorted(
        path for entry in entries if entry.is_file() and (path := Path(entry)).suffix != ".part"
    )


def _scan(folder: Path, recurse: bool) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder, without links; never the whole of it is in memory."""
    waiting: list[str | Path] = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    continue
                if recurse and entry.is_dir():
                    waiting.append(entry.path)
                yield entry


def _file_entries(paths: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Return the files as the editor lists them, without those that were removed meanwhile."""
    entries: list[dict[str, Any]] = []
    for path in paths:
        with contextlib.suppress(OSError):
            entries.append(file_entry(path, folder))
    return entries


def _entries(folder: Path, root: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise RequestError(404, "there is no such folder")
    entries: list[dict[str, Any]] = []
    items = itertools.islice(_scan(folder, recurse=False), MAX_LISTED)
    for item in sorted(items, key=lambda item: (item.is_file(), item.name)):
        path = Path(item)
        entry: dict[str, Any] = {"name": path.name, "path": path.relative_to(root).as_posix()}
        if item.is_file():
            try:
                stat = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            entry |= {"type": "file", "size": stat.st_size, "modified": stat.st_mtime}
        else:
            entry["type"] = "directory"
        entries.append(entry)
    return entries


async def _change_files(name: str, work: Callable[[], object]) -> None:
    """Change files; a bad name or a full disk is answered with an error of the request."""
    try:
        await asyncio.to_thread(work)
    except UnsafePathError as error:
        raise RequestError(403, str(error)) from error
    except FileNotFoundError as error:
        raise RequestError(404, f"there is no file {name[:80]!r}") from error
    except OSError as error:
        raise storage_error(error, repr(name[:80])) from error


def _read_settings(site: Site) -> dict[str, Any]:
    """Return the settings, empty if the file cannot be read; it stays until one is changed."""
    try:
        data = read_inside(site.user_dir, SETTINGS, MAX_SETTINGS_BYTES)
        settings = parse_json(data.decode("utf-8-sig"))
    except (OSError, ValueError, FormatError):
        return {}
    return settings if isinstance(settings, dict) else {}


async def _change_settings(site: Site, changes: dict[str, Any]) -> None:
    async with site.settings_lock:
        settings = await asyncio.to_thread(_read_settings, site)
        text = json.dumps({**settings, **changes}, indent=2, ensure_ascii=False)
        if len(text) > MAX_SETTINGS_BYTES:
            raise RequestError(413, f"the settings are larger than {MAX_SETTINGS_BYTES} bytes")
        data = text.encode("utf-8")

        def store() -> None:
            write_file(site.user_dir, "", SETTINGS, data, replace=True)

        await _change_files(SETTINGS, store)
