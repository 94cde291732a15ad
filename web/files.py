"""Routes of files: images out (/view) and in (/upload/image, /upload/mask)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aiohttp import BodyPartReader, web

from latentloom.engine.errors import FormatError
from latentloom.engine.files.folder import Folder, open_folder, read_inside, split_name
from latentloom.engine.files.image_formats import format_of_mime
from latentloom.engine.files.workspace import UnsafePathError, safe_path, split_annotated
from latentloom.engine.formats.parsing import parse_json
from latentloom.engine.node.image_service import EncodedImage, ImageKind, ImageService

from .routes import RequestError, Routes, answer, read_in_time
from .site import Site

routes = Routes()
MAX_VIEWED = 512 * 2**20
MAX_FIELDS = 16
MAX_FIELD_BYTES = 65_536


@routes.add("GET", "/view", "An image of the input, output or temp folder")
async def view(site: Site, request: web.Request) -> web.Response:
    query = request.query
    data = await asyncio.to_thread(
        read_image_file,
        site,
        query.get("filename", ""),
        query.get("subfolder", ""),
        query.get("type", "output"),
    )
    name = PurePosixPath(split_annotated(query.get("filename", ""))[0]).name
    found = await asyncio.to_thread(
        _shown, site.image_service, data, query.get("preview"), query.get("channel", "")
    )
    return _image_answer(found, name)


@routes.add("POST", "/upload/image", "Put an image into the input folder", body="form")
async def upload_image(site: Site, request: web.Request) -> web.Response:
    async with site.uploads:
        form = await _read_form(site, request)
        image = await asyncio.to_thread(site.image_service.clean, form.file)
        return answer(await asyncio.to_thread(_store, site, form, image))


@routes.add("POST", "/upload/mask", "Give a stored image the alpha of another", body="form")
async def upload_mask(site: Site, request: web.Request) -> web.Response:
    async with site.uploads:
        form = await _read_form(site, request)
        original = await asyncio.to_thread(_original, site, form)
        image = await asyncio.to_thread(site.image_service.replace_alpha, original, form.file)
        return answer(await asyncio.to_thread(_store, site, form, image))


def folder_of(site: Site, kind: str, subfolder: str = "") -> Path:
    """The folder that a request names.

    Raises:
        RequestError: there is no such kind, or the subfolder leads out of it.
    """
    root = site.folders.get(kind)
    if root is None:
        raise RequestError(
            400, f"type: expected one of {', '.join(site.folders)}, got {kind[:40]!r}"
        )
    if not subfolder:
        return root
    try:
        return safe_path(root, subfolder)
    except UnsafePathError as error:
        raise RequestError(403, str(error)) from error


def read_image_file(site: Site, filename: str, subfolder: str, kind: str) -> bytes:
    """The content of a file that a request names.

    Raises:
        RequestError: the name is unsafe, or there is no such file.
    """
    filename, annotated = split_annotated(filename)
    kind = annotated or kind
    folder_of(site, kind, subfolder)
    name = "/".join(part for part in (subfolder, filename) if part)
    roots = [site.folders[kind]]
    if kind == "input" and site.library is not None:
        roots.append(site.library)
    if not filename or PurePosixPath(filename).name != filename:
        raise RequestError(400, f"filename: expected the name of a file, got {filename[:80]!r}")
    for root in roots:
        try:
            return read_inside(root, name, MAX_VIEWED)
        except UnsafePathError as error:
            raise RequestError(400, str(error)) from error
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise RequestError(413, str(error)) from error
    raise RequestError(404, f"there is no file {name[:80]!r}")


def _shown(service: ImageService, data: bytes, preview: str | None, channel: str) -> EncodedImage:
    """The file itself, or what is asked of it; what is no image is never shown inline."""
    if preview:
        kind, _, given = preview.partition(";")
        quality = int(given) if given.isascii() and given.isdigit() and len(given) < 4 else 90
        format: ImageKind = "JPEG" if kind == "jpeg" and "a" not in channel else "WebP"
        return service.convert(data, format, min(100, max(1, quality)))
    if channel in ("rgb", "a"):
        return service.extract_channel(data, channel)
    return service.make_viewable(data) or EncodedImage(data, "application/octet-stream")


def _image_answer(image: EncodedImage, name: str) -> web.Response:
    shown = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    inline = image.mime.startswith("image/")
    disposition = f'filename="{shown}"' if inline else f'attachment; filename="{shown}"'
    headers = {
        "Content-Disposition": disposition,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return web.Response(body=image.data, content_type=image.mime, headers=headers)


@dataclass
class _Form:
    name: str = ""
    file: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)


async def _read_form(site: Site, request: web.Request) -> _Form:
    """The parts of an upload, each read no further than its bound."""
    most = site.options.max_upload_bytes
    if (request.content_length or 0) > most + MAX_FIELDS * MAX_FIELD_BYTES:
        raise RequestError(413, f"the upload has {request.content_length} bytes; at most {most}")
    if not request.content_type.startswith("multipart/"):
        raise RequestError(400, "expected a form with a file: multipart/form-data")
    form, count = _Form(), 0
    try:
        async for part in await request.multipart():
            count += 1
            if not isinstance(part, BodyPartReader) or count > MAX_FIELDS:
                raise RequestError(400, f"a form may have {MAX_FIELDS} plain parts")
            if part.name == "image" and part.filename:
                form.name, form.file = part.filename, await _read_part(part, most)
            elif part.name:
                data = await _read_part(part, MAX_FIELD_BYTES)
                form.fields[part.name] = data.decode("utf-8", "replace")
    except (ValueError, RuntimeError, AssertionError) as error:
        raise RequestError(400, f"this form cannot be read: {error}") from error
    if not form.name or not form.file:
        raise RequestError(400, "the form has no file called image")
    return form


async def _read_part(part: BodyPartReader, most: int) -> bytes:
    found = bytearray()
    while chunk := await read_in_time(part.read_chunk(65_536)):
        found += chunk
        if len(found) > most:
            raise RequestError(413, f"the part {part.name!r} has more than {most} bytes")
    return bytes(found)


def _original(site: Site, form: _Form) -> bytes:
    """The stored image that a mask is for."""
    try:
        ref = parse_json(form.fields.get("original_ref", ""))
    except FormatError as error:
        raise RequestError(400, f"original_ref: {error}") from error
    if not isinstance(ref, dict) or not isinstance(ref.get("filename"), str):
        raise RequestError(400, "original_ref wants an object with a filename")
    name, kind = split_annotated(ref["filename"])
    place = PurePosixPath(name)
    parent = "" if place.parent == PurePosixPath() else place.parent.as_posix()
    subfolder = ref.get("subfolder") or parent
    kind = kind or ref.get("type") or "output"
    if not isinstance(subfolder, str) or not isinstance(kind, str):
        raise RequestError(400, "original_ref wants texts")
    return read_image_file(site, place.name, subfolder, kind)


def _store(site: Site, form: _Form, image: EncodedImage) -> dict[str, str]:
    """Write an image under its name; the reply of an upload. No other file is ever replaced."""
    kind, subfolder = form.fields.get("type", "") or "input", form.fields.get("subfolder", "")
    folder_of(site, kind, subfolder)
    name = form.name
    suffixes = format_of_mime(image.mime).suffixes
    if PurePosixPath(name).suffix.lower() not in suffixes:
        name += suffixes[0]
    replace = form.fields.get("overwrite", "") in ("true", "1")
    try:
        if "/" in name:
            raise UnsafePathError(f"{name[:80]!r} is no plain name")
        stored = write_file(site.folders[kind], subfolder, name, image.data, replace)
    except UnsafePathError as error:
        raise RequestError(400, str(error)) from error
    except OSError as error:
        raise RequestError(400, f"this cannot be stored: {error.strerror}") from error
    return {"name": stored, "subfolder": subfolder, "type": kind}


def write_file(root: Path, subfolder: str, name: str, data: bytes, replace: bool) -> str:
    """Write a file whole or not at all; the name it has got.

    Args:
        subfolder: of the root; made where it is missing.
        replace: put it in the place of a file of this name; else that stays, and the new one is
            called `name (1)`, unless it has the same content.

    Raises:
        UnsafePathError: the name may not be used, or a link is on the way.
        OSError: it cannot be written.
    """
    split_name(name)
    with open_folder(root, subfolder, make=True) as folder, folder.temporary_file(data) as part:
        if replace and not folder.is_link(name):
            folder.replace(part, folder, name)
            return name
        stem, extension = PurePosixPath(name).stem, PurePosixPath(name).suffix
        number = 0
        while True:
            candidate = f"{stem} ({number}){extension}" if number else name
            if folder.publish(part, candidate) or _holds(folder, candidate, data):
                return candidate
            number += 1


def _holds(folder: Folder, name: str, data: bytes) -> bool:
    try:
        return folder.read(name, len(data)) == data
    except (OSError, ValueError):
        return False
