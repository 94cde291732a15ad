"""Routes of files: images out (/view) and in (/upload/image, /upload/mask)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from latentloom.engine.errors import FormatError
from latentloom.engine.files.folder import Folder, open_folder, read_inside, split_name
from latentloom.engine.files.image_formats import format_of_mime
from latentloom.engine.files.workspace import UnsafePathError, safe_path, split_annotated
from latentloom.engine.formats.parsing import parse_json
from latentloom.engine.node.image_service import EncodedImage, ImageKind, ImageService

from .routes import (
    RequestError,
    Routes,
    answer,
    read_in_time,
    refuse_encoding,
    storage_error,
)
from .site import Site

routes = Routes()
MAX_VIEWED_BYTES = 512 * 2**20
MAX_FIELDS = 16
MAX_FIELD_BYTES = 65_536


@routes.add("GET", "/view", "An image of the input, output or temp folder")
async def view(site: Site, request: web.Request) -> web.Response:
    query = request.query

    def read() -> EncodedImage:
        data = read_image_file(
            site,
            query.get("filename", ""),
            query.get("subfolder", ""),
            query.get("type", "output"),
        )
        return _render(site.image_service, data, query.get("preview"), query.get("channel", ""))

    name = PurePosixPath(split_annotated(query.get("filename", ""))[0]).name
    return _image_response(await site.pools.images.run(read), name)


@routes.add("POST", "/upload/image", "Put an image into the input folder", body="form")
async def upload_image(site: Site, request: web.Request) -> web.Response:
    async with site.uploads:
        form = await _read_form(site, request)
        image = await site.pools.images.run(site.image_service.clean, form.file)
        return answer(await asyncio.to_thread(_store, site, form, image))


@routes.add("POST", "/upload/mask", "Give a stored image the alpha of another", body="form")
async def upload_mask(site: Site, request: web.Request) -> web.Response:
    async with site.uploads:
        form = await _read_form(site, request)
        original = await asyncio.to_thread(_original, site, form)
        image = await site.pools.images.run(site.image_service.replace_alpha, original, form.file)
        return answer(await asyncio.to_thread(_store, site, form, image))


def folder_of(site: Site, kind: str, subfolder: str = "") -> Path:
    """Return the folder that a request names.

    Raises:
        RequestError: the kind is unknown, or the subfolder leads out of its folder.
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
    """Return the content of a file that a request names.

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
            return read_inside(root, name, MAX_VIEWED_BYTES)
        except UnsafePathError as error:
            raise RequestError(400, str(error)) from error
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise RequestError(413, str(error)) from error
    raise RequestError(404, f"there is no file {name[:80]!r}")


def _render(service: ImageService, data: bytes, preview: str | None, channel: str) -> EncodedImage:
    """Return a preview, a channel or the file itself; other files than images as a download."""
    if preview:
        kind, _, given = preview.partition(";")
        quality = int(given) if given.isascii() and given.isdigit() and len(given) < 4 else 90
        format: ImageKind = "JPEG" if kind == "jpeg" and "a" not in channel else "WebP"
        return service.convert(data, format, min(100, max(1, quality)))
    if channel in ("rgb", "a"):
        return service.extract_channel(data, channel)
    return service.make_viewable(data) or EncodedImage(data, "application/octet-stream")


def _image_response(image: EncodedImage, name: str) -> web.Response:
    safe_name = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    disposition = f'filename="{safe_name}"'
    if not image.mime.startswith("image/"):
        disposition = f"attachment; {disposition}"
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
    """Read the parts of an upload, each up to its limit."""
    refuse_encoding(request)
    limit = site.options.max_upload_bytes
    if (request.content_length or 0) > limit + MAX_FIELDS * MAX_FIELD_BYTES:
        got = f"{request.content_length} bytes"
        raise RequestError(413, f"upload: expected at most {limit} bytes, got {got}")
    if not request.content_type.startswith("multipart/"):
        raise RequestError(400, "upload: expected a form with a file (multipart/form-data)")
    form, count = _Form(), 0
    try:
        reader = await request.multipart()
        while (part := await read_in_time(reader.next())) is not None:
            count += 1
            if not isinstance(part, BodyPartReader) or count > MAX_FIELDS:
                raise RequestError(400, f"upload: expected at most {MAX_FIELDS} plain parts")
            if part.name == "image" and part.filename:
                form.name, form.file = part.filename, await _read_part(part, limit)
            elif part.name:
                data = await _read_part(part, MAX_FIELD_BYTES)
                form.fields[part.name] = data.decode("utf-8", "replace")
    except (ValueError, LookupError, RuntimeError, AssertionError) as error:
        raise RequestError(400, f"upload: the form cannot be read: {error}") from error
    except HttpProcessingError as error:
        text = f"upload: the headers of a part cannot be read: {error.message}"
        raise RequestError(400, text) from error
    if not form.name or not form.file:
        raise RequestError(400, "upload: expected a file in the part `image`")
    return form


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await read_in_time(part.read_chunk(65_536)):
        data += chunk
        if len(data) > limit:
            raise RequestError(413, f"upload: expected at most {limit} bytes in {part.name!r}")
    return bytes(data)


def _original(site: Site, form: _Form) -> bytes:
    """Return the stored image that a mask belongs to."""
    try:
        ref = parse_json(form.fields.get("original_ref", ""))
    except FormatError as error:
        raise RequestError(400, f"original_ref: {error}") from error
    if not isinstance(ref, dict) or not isinstance(ref.get("filename"), str):
        raise RequestError(400, "original_ref: expected an object with a filename")
    name, kind = split_annotated(ref["filename"])
    path = PurePosixPath(name)
    parent = "" if path.parent == PurePosixPath() else path.parent.as_posix()
    subfolder = ref.get("subfolder") or parent
    kind = kind or ref.get("type") or "output"
    if not isinstance(subfolder, str) or not isinstance(kind, str):
        raise RequestError(400, "original_ref: expected strings")
    return read_image_file(site, path.name, subfolder, kind)


def _store(site: Site, form: _Form, image: EncodedImage) -> dict[str, str]:
    """Write an uploaded image, and return the reply of the request."""
    kind, subfolder = form.fields.get("type", "") or "input", form.fields.get("subfolder", "")
    folder_of(site, kind, subfolder)
    name = form.name
    suffixes = format_of_mime(image.mime).suffixes
    if PurePosixPath(name).suffix.lower() not in suffixes:
        name += suffixes[0]
    replace = form.fields.get("overwrite", "") in ("true", "1")
    try:
        if "/" in name:
            raise UnsafePathError(f"expected a file name without folders, got {name[:80]!r}")
        stored = write_file(site.folders[kind], subfolder, name, image.data, replace)
    except UnsafePathError as error:
        raise RequestError(400, str(error)) from error
    except OSError as error:
        raise storage_error(error, "the image cannot be stored") from error
    return {"name": stored, "subfolder": subfolder, "type": kind}


def write_file(root: Path, subfolder: str, name: str, data: bytes, replace: bool) -> str:
    """Write a file atomically, and return the name it has received.

    Args:
        subfolder: of the root; created if it is missing.
        replace: replace a file of this name. Otherwise that file stays, and the new one is called
            `name (1)`, unless both have the same content.

    Raises:
        UnsafePathError: the name may not be used, or a part of the path is a link.
        OSError: the file cannot be written.
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
