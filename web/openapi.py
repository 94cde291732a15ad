"""The description of the routes, made from the routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from .routes import ROUTES, Route, Routes, answer
from .site import Site

routes = Routes()
CONTENT = {
    "json": "application/json", "raw": "application/octet-stream", "form": "multipart/form-data",
}  # fmt: skip
_PART = re.compile(r"\{(\w+)(?::[^}]*)?\}")


@routes.add("GET", "/openapi.json", "This description")
async def openapi(site: Site, request: web.Request) -> web.Response:
    return answer(describe(request.app[ROUTES]))


def describe(found: Sequence[Route]) -> dict[str, Any]:
    """The routes as OpenAPI 3.1; each is under /api too."""
    paths: dict[str, dict[str, Any]] = {}
    for route in found:
        path = _PART.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Latentloom", "version": "0.1.0"},
        "servers": [{"url": "/"}, {"url": "/api"}],
        "paths": dict(sorted(paths.items())),
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PART.findall(route.path)
        ],
        "responses": {
            "200": {"description": "done"},
            "400": {"description": "the request is wrong; the answer says how"},
            "403": {"description": "asked by another name, or from another origin"},
        },
    }
    if route.body != "none":
        schema = {"type": "string", "format": "binary"} if route.body == "raw" else {}
        kind = {"type": "object"} if route.body != "raw" else schema
        found["requestBody"] = {"content": {CONTENT[route.body]: {"schema": kind}}}
    return found
