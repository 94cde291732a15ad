"""Routes of installed models, by folder. The names are those that loader nodes offer."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

from aiohttp import web

from latentloom.engine.errors import FormatError
from latentloom.engine.files.image_formats import IMAGE_SUFFIXES
from latentloom.engine.formats.parsing import check_count
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import NodeSpec

from .routes import RequestError, Routes, answer
from .site import Site

routes = Routes()
# The folders that clients ask for, whether models are installed or not.
FOLDERS = (
    "checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision",
    "style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "gligen",
    "upscale_models", "hypernetworks", "photomaker", "classifiers", "model_patches",
    "audio_encoders",
)  # fmt: skip
OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
MAX_HEADER_BYTES = 32 * 2**20
EXTENSIONS = [".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin"]


@routes.add("GET", "/models", "The folders of models")
async def folders(site: Site, request: web.Request) -> web.Response:
    return answer(list(FOLDERS))


@routes.add("GET", "/models/{folder}", "The models of a folder")
async def models(site: Site, request: web.Request) -> web.Response:
    names = await asyncio.to_thread(installed, site.registry, _folder(request))
    return answer(list(names))


@routes.add("GET", "/embeddings", "The textual inversions, without their extensions")
async def embeddings(site: Site, request: web.Request) -> web.Response:
    names = await asyncio.to_thread(installed, site.registry, "embeddings")
    return answer([name.rpartition(".")[0] or name for name in names])


@routes.add("GET", "/experiment/models", "The folders of models, with their extensions")
async def library(site: Site, request: web.Request) -> web.Response:
    return answer([{"name": name, "folders": [name], "extensions": EXTENSIONS} for name in FOLDERS])


@routes.add("GET", "/experiment/models/{folder}", "The models of a folder, with sizes and times")
async def library_folder(site: Site, request: web.Request) -> web.Response:
    folder = _folder(request)

    def gather() -> list[dict[str, Any]]:
        paths = installed(site.registry, folder)
        return [_describe(name, path) for name, path in paths.items() if path.exists()]

    return answer(await asyncio.to_thread(gather))


@routes.add("GET", "/experiment/models/preview/{folder}/{index}/{file}", "The image of a model")
async def preview(site: Site, request: web.Request) -> web.Response:
    path = await _model(site, request, request.match_info["file"])

    def read() -> bytes:
        for suffix in IMAGE_SUFFIXES:
            image = path.with_name(f"{path.stem}{suffix}")
            if image.is_file() and not image.is_symlink():
                return site.image_service.convert(image.read_bytes(), "WebP").data
        raise RequestError(404, "this model has no preview image")

    return web.Response(body=await site.pools.images.run(read), content_type="image/webp")


@routes.add("GET", "/view_metadata/{folder}", "The metadata of a safetensors file")
async def metadata(site: Site, request: web.Request) -> web.Response:
    path = await _model(site, request, request.query.get("filename", ""))
    entries = await asyncio.to_thread(read_metadata, path)
    if entries is None:
        raise RequestError(404, "the file has no metadata")
    return answer(entries)


def installed(registry: Registry, folder: str) -> dict[str, Path]:
    """Return the models of a folder by name, as the nodes that load them list them."""
    for spec in registry.values():
        paths = _models_of(spec, folder)
        if paths:
            return paths
    return {}


def read_metadata(path: Path) -> dict[str, str] | None:
    """Return the `__metadata__` of a safetensors file; None if there is none to read."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MAX_HEADER_BYTES, path.stat().st_size):
                return None
            text = stream.read(length).decode("utf-8")
        check_count(text)
        header = json.loads(text)
    except (OSError, ValueError, FormatError, struct.error, RecursionError):
        return None
    entries = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(entries, dict):
        return None
    return {str(key): str(value) for key, value in entries.items()}


def _models_of(spec: NodeSpec, folder: str) -> dict[str, Path]:
    for port in spec.inputs:
        for file in port.file_kinds:
            if file.kind == folder and file.names and file.resolve:
                return {name: file.resolve(name) for name in file.names()}
    return {}


def _folder(request: web.Request) -> str:
    name = request.match_info["folder"]
    name = OLD_NAMES.get(name, name)
    if name not in FOLDERS:
        raise RequestError(404, f"there is no folder {name[:40]!r}")
    return name


async def _model(site: Site, request: web.Request, name: str) -> Path:
    """Return the path of a model by its name, which is looked up in the list of models."""
    paths = await asyncio.to_thread(installed, site.registry, _folder(request))
    if name not in paths:
        raise RequestError(404, f"there is no model {name[:80]!r}")
    return paths[name]


def _describe(name: str, path: Path) -> dict[str, Any]:
    """Return a model as ComfyUI's clients list it."""
    status = path.stat()
    return {
        "name": name,
        "pathIndex": 0,
        "modified": status.st_mtime,
        "created": status.st_ctime,
        "size": status.st_size,
    }
