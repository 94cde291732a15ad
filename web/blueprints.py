"""Routes of blueprints: subgraphs that the editor offers as single nodes.

They come from the package `comfyui-subgraph-blueprints`, a separate work with its own licence,
if it is installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from .routes import RequestError, Routes, answer
from .site import MAX_LISTED, Site

routes = Routes()
PACKAGE = "comfyui_subgraph_blueprints"
MAX_BYTES = 4 * 2**20
MAX_NAME_CHARS = 200


@dataclass(frozen=True)
class Blueprint:
    """A file of the package, and the name of its subgraph."""

    path: Path
    name: str

    def entry(self) -> dict[str, Any]:
        """Return it as the editor lists blueprints."""
        return {"source": "templates", "name": self.name, "info": {"node_pack": PACKAGE}}


@routes.add("GET", "/global_subgraphs", "Subgraphs that the editor offers as nodes")
async def subgraphs(site: Site, request: web.Request) -> web.Response:
    installed = await asyncio.to_thread(find_blueprints)
    return answer({id: blueprint.entry() for id, blueprint in installed.items()})


@routes.add("GET", "/global_subgraphs/{id}", "A subgraph with its workflow")
async def subgraph(site: Site, request: web.Request) -> web.Response:
    installed = await asyncio.to_thread(find_blueprints)
    blueprint = installed.get(request.match_info["id"])
    if blueprint is None:
        raise RequestError(404, "there is no such subgraph")
    try:
        data = await asyncio.to_thread(blueprint.path.read_text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(404, "this subgraph cannot be read") from error
    return answer({**blueprint.entry(), "data": data})


def find_blueprints() -> Mapping[str, Blueprint]:
    """Return the blueprints of the installed package by id; empty if it is not installed."""
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    return _read_folder(Path(next(iter(folders))) / "blueprints") if folders else {}


@lru_cache(1)
def _read_folder(folder: Path) -> Mapping[str, Blueprint]:
    """Return the blueprints in a folder, by a digest of their file's name."""
    entries = {}
    for path in sorted(folder.glob("*.json"))[:MAX_LISTED]:
        name = _name_of(path)
        if name is not None:
            digest = hashlib.sha256(f"{PACKAGE}/{path.name}".encode()).hexdigest()
            entries[digest[:32]] = Blueprint(path, name)
    return MappingProxyType(entries)


def _name_of(path: Path) -> str | None:
    """Return the name of the subgraph in a file; None if the file has none, or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        data = json.loads(path.read_text("utf-8"))
        definitions = data["definitions"]["subgraphs"]
        name = definitions[0]["name"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return name[:MAX_NAME_CHARS] if isinstance(name, str) and name else None
