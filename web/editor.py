"""The editor: ComfyUI's frontend if it is installed, a plain page otherwise.

The package is a separate program with its own licence, served unchanged. Its files are listed
once, and only files of the list are served.
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
# Types that `mimetypes` lacks on some systems, or reads from their settings.
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
    files = await asyncio.to_thread(static_files)
    return answer([f"/{name}" for name in sorted(files) if _is_extension(name)])


@routes.add("GET", "/", "The editor, or a page that says how to install it", alias=False)
async def index(site: Site, request: web.Request) -> web.StreamResponse:
    files = await asyncio.to_thread(static_files)
    if "index.html" in files:
        return _file(files["index.html"])
    return web.Response(text=plain_page(request.app[ROUTES]), content_type="text/html")


@routes.add("GET", "/{name:.+}", "A file of the editor", alias=False)
async def static(site: Site, request: web.Request) -> web.StreamResponse:
    files = await asyncio.to_thread(static_files)
    path = files.get(request.match_info["name"])
    if path is None:
        raise RequestError(404, "there is no such page")
    return _file(path)


@cache
def static_files() -> dict[str, Path]:
    """Return the files of the editor and of its extension, by their path in URLs."""
    files = {f"{PREFIX}{path.name}": path for path in sorted(OURS.glob("*.js"))}
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        root = Path(folder) / "static"
        files |= {
            path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()
        }
    return files


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
        "<h1>Latentloom</h1><p>The server is running. To get the editor, run "
        f"<code>{INSTALL}</code> and restart the server.</p>"
        f"<h2>API</h2><table>{rows}</table></html>"
    )


def _is_extension(name: str) -> bool:
    return name.startswith("extensions/") and name.endswith(".js")


def _file(path: Path) -> web.FileResponse:
    kind = MIME.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    # The name of an asset changes with its content.
    is_immutable = path.parent.name == "assets"
    headers = {
        "Content-Type": kind or "application/octet-stream",
        "Cache-Control": "max-age=86400" if is_immutable else "no-cache",
    }
    return web.FileResponse(path, headers=headers)
