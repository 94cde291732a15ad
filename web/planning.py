"""The route that says what a run would do to each node, and why; ComfyUI has none like it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from engine.errors import GraphError

from .prompts import PromptRefused, read_graph
from .routes import Refusal, Routes, answer, read_object
from .site import Site

routes = Routes()


@routes.add("POST", "/latentloom/plan", "What a run would do to each node, and why", body="json")
async def plan(site: Site, request: web.Request) -> web.Response:
    prompt = (await read_object(request)).get("prompt")
    if not isinstance(prompt, Mapping):
        raise Refusal(400, "prompt wants a graph in API format")
    return answer(await asyncio.to_thread(_plan, site, prompt))


def _plan(site: Site, prompt: Mapping[str, Any]) -> dict[str, Any]:
    """The steps by node; a graph that cannot run yet has none, and its problems instead."""
    try:
        found = site.engine.plan(read_graph(prompt, site.registry), site.workspace)
    except (GraphError, PromptRefused) as error:
        return {"nodes": {}, "problems": str(error).splitlines()}
    steps = {id: {"action": step.action, "why": step.why} for id, step in found.nodes.items()}
    return {"nodes": steps, "problems": []}
