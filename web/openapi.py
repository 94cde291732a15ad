"""The OpenAPI description, generated from the routes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from latentloom.engine.execution.environment import PROGRAM_VERSION
from latentloom.engine.formats.schema import native_schema

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


@routes.add("GET", "/latentloom.schema.json", "The JSON schema of native graph files")
async def graph_schema(site: Site, request: web.Request) -> web.Response:
    return answer(await asyncio.to_thread(native_schema, site.registry))


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the routes as an OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PART.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Latentloom", "version": PROGRAM_VERSION},
        "servers": [{"url": "/"}, {"url": "/api"}],
        "paths": dict(sorted(paths.items())),
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PART.findall(route.path)
        ],
        "responses": {
            "200": {"description": "done"},
            "400": {"description": "invalid request; the answer says why"},
            "403": {"description": "host name or origin not allowed"},
        },
    }
    if route.body != "none":
        schema = {"type": "string", "format": "binary"} if route.body == "raw" else {}
        kind = {"type": "object"} if route.body != "raw" else schema
        operation["requestBody"] = {"content": {CONTENT[route.body]: {"schema": kind}}}
    return operation
