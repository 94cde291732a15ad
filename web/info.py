"""Routes about the server itself: node definitions, features, the machine, logs."""

from __future__ import annotations

import asyncio
import heapq
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aiohttp import web

from . import machine
from .object_info import definition, definitions
from .routes import RequestError, Routes, answer, done, read_object
from .site import MAX_LISTED, Site
from .sockets import Hub

routes = Routes()
COMFYUI_VERSION, COMPATIBILITY = "0.33.0", "LATENTLOOM_COMFYUI"
FRONTEND, TEMPLATES = "comfyui-frontend-package", "comfyui-workflow-templates"


@routes.add("GET", "/object_info", "The definitions of all nodes")
async def object_info(site: Site, request: web.Request) -> web.Response:
    nodes = await asyncio.to_thread(definitions, site.registry, site.images)
    response = answer(nodes)
    response.enable_compression()
    return response


@routes.add("GET", "/object_info/{node}", "The definition of one node")
async def one_object_info(site: Site, request: web.Request) -> web.Response:
    spec = site.registry.get(request.match_info["node"])
    if spec is None:
        return answer({})
    return answer({spec.name: await asyncio.to_thread(definition, spec, site.images)})


@routes.add("GET", "/features", "The features of this server")
async def features(site: Site, request: web.Request) -> web.Response:
    return answer(site.features())


@routes.add("GET", "/system_stats", "The machine and its devices")
async def system_stats(site: Site, request: web.Request) -> web.Response:
    total, free = machine.memory()
    system = {
        "os": os.name if os.name != "posix" else platform.system().lower(),
        "ram_total": total,
        "ram_free": free,
        "comfyui_version": comfyui_version(),
        "latentloom_version": _version("latentloom"),
        "required_frontend_version": _version(FRONTEND),
        "installed_templates_version": _version(TEMPLATES) or None,
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": _version("torch"),
        "embedded_python": False,
        "argv": ["latentloom", "serve"],
    }
    devices = await asyncio.to_thread(machine.device_list, site.registry)
    return answer({"system": system, "devices": devices})


def comfyui_version() -> str:
    """Return the version of ComfyUI whose rules are followed where versions differ."""
    chosen = os.environ.get(COMPATIBILITY, "")
    return COMFYUI_VERSION if chosen in ("", "current") else chosen


@routes.add("GET", "/i18n", "Translations of node packs; there are none")
async def i18n(site: Site, request: web.Request) -> web.Response:
    return answer({})


@routes.add("GET", "/internal/logs", "The last lines of the log, as one string")
async def logs(site: Site, request: web.Request) -> web.Response:
    return answer(site.logs.text())


@routes.add("GET", "/internal/logs/raw", "The last lines of the log")
async def raw_logs(site: Site, request: web.Request) -> web.Response:
    return answer({"entries": list(site.logs.lines), "size": {"cols": 120, "rows": 40}})


@routes.add("PATCH", "/internal/logs/subscribe", "Send new lines to a client", body="json")
async def subscribe(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    client = body.get("clientId")
    if not isinstance(client, str):
        raise RequestError(400, "clientId: expected a string")
    # Clients that left since are forgotten.
    site.logs.subscribers &= site.hub.clients.keys()
    if body.get("enabled") is True and client in site.hub.clients:
        site.logs.subscribers.add(client)
    else:
        site.logs.subscribers.discard(client)
    return done()


@routes.add("GET", "/internal/folder_paths", "The folders by kind, without their paths")
async def folder_paths(site: Site, request: web.Request) -> web.Response:
    return answer({kind: [kind] for kind in site.folders})


@routes.add("GET", "/internal/files/{kind}", "Names of files, newest first")
async def files(site: Site, request: web.Request) -> web.Response:
    folder = site.folders.get(request.match_info["kind"])
    if folder is None:
        raise RequestError(400, "Invalid directory type")
    return answer(await asyncio.to_thread(_newest_first, folder))


@routes.add("GET", "/ws", "The WebSocket: progress, previews, results", alias=True)
async def socket(site: Site, request: web.Request) -> web.StreamResponse:
    hub: Hub = site.hub
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise RequestError(426, "this route is a WebSocket")
    return await hub.listen(request)


def _newest_first(folder: Path) -> list[str]:
    """Return the names of the newest files in a folder; none if it was removed."""
    with suppress(FileNotFoundError), os.scandir(folder) as scanned:
        return [name for _, name in heapq.nlargest(MAX_LISTED, _times(scanned))]
    return []


def _times(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[int, str]]:
    for entry in entries:
        # A file may be removed meanwhile.
        with suppress(FileNotFoundError):
            if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.name


def _version(package: str) -> Any:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
