"""Routes of templates: the shipped graphs as workflows of the editor, with images of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from latentloom.engine.errors import FormatError
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.files.workspace import why_unsafe
from latentloom.engine.formats import load_graph
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.library import find_graph

from .object_info import input_replacements
from .routes import RequestError, Routes, answer
from .site import Site

routes = Routes()
FIRST = "img2img"
RESULT, SOURCE = "-1.webp", "-2.webp"


@routes.add("GET", "/workflow_templates", "Templates of other packs of nodes; there are none")
async def packs(site: Site, request: web.Request) -> web.Response:
    return answer({})


@routes.add("GET", "/templates/{name}", "The list of templates, a template, or an image of one")
async def template(site: Site, request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name == "index.json":
        return answer(await asyncio.to_thread(index, site))
    if name == "index_logo.json":
        return answer({})
    for extension, image in ((RESULT, result), (SOURCE, source)):
        if name.endswith(extension):
            data = await site.pools.images.run(image, site, name.removesuffix(extension))
            return web.Response(body=data, content_type="image/webp")
    if not name.endswith(".json"):
        raise RequestError(404, "there is no such template")
    graph = await asyncio.to_thread(_graph, site, name.removesuffix(".json"))
    return answer(await asyncio.to_thread(write_workflow, graph, site.registry))


@routes.add("GET", "/node_replacements", "The inputs of nodes that were renamed")
async def replacements(site: Site, request: web.Request) -> web.Response:
    return answer(input_replacements(site.registry))


def index(site: Site) -> list[dict[str, Any]]:
    """Return the shipped graphs as the editor lists templates, img2img first."""
    names = sorted(path.stem for path in _files(site))
    names.sort(key=lambda name: name != FIRST)
    return [
        {
            "moduleName": "default",
            "title": "Latentloom",
            "type": "image",
            "category": "GENERATION TYPE",
            "isEssential": True,
            "templates": [_entry(name, site) for name in names],
        }
    ]


def result(site: Site, name: str) -> bytes:
    """Return an image that a template generated."""
    path = _path(name)
    try:
        return (path.parent / "thumbnails" / f"{path.stem}.webp").read_bytes()
    except FileNotFoundError as error:
        raise RequestError(404, "this template has no image") from error


def source(site: Site, name: str) -> bytes:
    """Return the image that a template starts from, which the editor shows on hover."""
    for value in _images(_graph(site, name)):
        try:
            data = site.workspace.resolve("input", value).read_bytes()
        except (OSError, ValueError):
            continue
        return site.image_service.convert(data, "WebP", 85).data
    raise RequestError(404, "this template starts from no image")


def _images(graph: Graph) -> list[str]:
    """Return the names of images in a graph."""
    return [
        value
        for node in graph.bound().nodes.values()
        for value in node.inputs.values()
        if isinstance(value, str) and is_image_name(value)
    ]


def _entry(name: str, site: Site) -> dict[str, Any]:
    graph = _graph(site, name)
    return {
        "name": name,
        "title": graph.title or name,
        "description": graph.description or graph.title or name,
        "mediaType": "image",
        "mediaSubtype": "webp",
        **({"thumbnailVariant": "hoverDissolve"} if _images(graph) else {}),
        "tags": ["Latentloom"],
        "models": ["demo"],
        "date": "2026-11-21",
        "size": 0,
        "openSource": True,
    }


def _files(site: Site) -> list[Path]:
    return [] if site.library is None else sorted(site.library.glob("*.yaml"))


def _graph(site: Site, name: str) -> Graph:
    try:
        return load_graph(_path(name), site.registry)
    except FormatError as error:
        raise RequestError(404, str(error)) from error


def _path(name: str) -> Path:
    """Return the file of a shipped graph by its name. No other file can be named."""
    path = None if why_unsafe(name) else find_graph(name)
    if path is None:
        raise RequestError(404, f"there is no template {name[:80]!r}")
    return path
