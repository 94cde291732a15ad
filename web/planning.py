"""The route that returns a plan: what a run would do to each node, why, and warnings.

ComfyUI has no such route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from latentloom.engine.errors import GraphError
from latentloom.engine.execution.reasons import reason_to_object
from latentloom.engine.graph.lint import LintWarning, lint

from .prompts import RejectedPromptError, read_graph
from .redact import without_folders
from .routes import RequestError, Routes, answer, read_object
from .site import Site

routes = Routes()


@routes.add(
    "POST", "/latentloom/plan", "What a run would do to each node, and why; warnings", body="json"
)
async def plan(site: Site, request: web.Request) -> web.Response:
    prompt = (await read_object(request, "inputs")).get("prompt")
    if not isinstance(prompt, Mapping):
        raise RequestError(400, "`prompt` must be a graph in API format")
    return answer(await site.pools.graphs.run(_plan, site, prompt))


def _plan(site: Site, prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the steps by node; for a graph that cannot run, its problems instead."""
    steps: dict[str, Any] = {}
    problems: list[str] = []
    warnings: tuple[LintWarning, ...] = ()
    try:
        graph = read_graph(prompt, site.registry)
        warnings = lint(graph, site.registry, site.workspace)
        for id, step in site.engine.plan(graph, site.workspace).nodes.items():
            steps[id] = {
                "action": step.action,
                "why": str(step.why),
                "reason": reason_to_object(step.why),
            }
    except (GraphError, RejectedPromptError) as error:
        problems = without_folders(str(error)).splitlines()
    return {
        "nodes": steps,
        "problems": problems,
        "warnings": [asdict(warning) for warning in warnings],
    }
