"""The editor: ComfyUI's frontend where it is installed, a plain page where it is not.

The package is a program of its own under its own licence; it is served as it is. Its files are
listed once, and only what is in the list can be asked for.
"""

from __future__ import annotations

import asyncio
import html
import mimetypes
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from latentloom.engine.files.image_formats import IMAGE_FORMATS

from .routes import ROUTES, RequestError, Route, Routes, answer
from .site import Site

routes = Routes()
PACKAGE = "comfyui_frontend_package"
INSTALL = "pip install latentloom[editor]"
OURS = Path(__file__).parent / "extension"
PREFIX = "extensions/latentloom/"
# What systems know differently, or not at all.
MIME = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".map": "application/json",
    ".woff2": "font/woff2",
    ".css": "text/css",
    **{suffix: image.mime for image in IMAGE_FORMATS for suffix in image.suffixes},
}


@routes.add("GET", "/extensions", "The scripts that the editor loads")
async def extensions(site: Site, request: web.Request) -> web.Response:
    found = await asyncio.to_thread(static_files)
    return answer([f"/{name}" for name in sorted(found) if _is_extension(name)])


@routes.add("GET", "/", "The editor, or a page that says how to install it", alias=False)
async def index(site: Site, request: web.Request) -> web.StreamResponse:
    found = await asyncio.to_thread(static_files)
    if "index.html" in found:
        return _file(found["index.html"])
    return web.Response(text=plain_page(request.app[ROUTES]), content_type="text/html")


@routes.add("GET", "/{name:.+}", "A file of the editor", alias=False)
async def static(site: Site, request: web.Request) -> web.StreamResponse:
    found = await asyncio.to_thread(static_files)
    path = found.get(request.match_info["name"])
    if path is None:
        raise RequestError(404, "there is nothing here")
    return _file(path)


@cache
def static_files() -> dict[str, Path]:
    """The editor's files by their path below the address, and our own script among them."""
    found = {f"{PREFIX}{path.name}": path for path in sorted(OURS.glob("*.js"))}
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        root = Path(place) / "static"
        found |= {
            path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()
        }
    return found


def plain_page(routes: Sequence[Route]) -> str:
    """Return the page at `/` without the editor: how to install it, and the API's routes."""
    rows = "\n".join(
        f"<tr><td>{route.method}</td><td><code>{html.escape(route.path)}</code></td>"
        f"<td>{html.escape(route.summary)}</td></tr>"
        for route in sorted(routes, key=lambda route: route.path)
        if route.alias
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Latentloom</title>"
        "<style>body{font:16px/1.5 system-ui;margin:3em auto;max-width:60em;padding:0 1em}"
        "td{padding:.1em 1em .1em 0}</style>"
        f"<h1>Latentloom</h1><p>The server runs. For its editor: <code>{INSTALL}</code>, "
        f"and start it again.</p><h2>API</h2><table>{rows}</table></html>"
    )


def _is_extension(name: str) -> bool:
    return name.startswith("extensions/") and name.endswith(".js")


def _file(path: Path) -> web.FileResponse:
    kind = MIME.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    # Names of assets change with their content.
    lasting = path.parent.name == "assets"
    headers = {
        "Content-Type": kind or "application/octet-stream",
        "Cache-Control": "max-age=86400" if lasting else "no-cache",
    }
    return web.FileResponse(path, headers=headers)
