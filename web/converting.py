"""The route that converts graph files, with which the editor opens and writes native ones.

ComfyUI has no such route.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from latentloom.engine.formats import convert_graph, parse_graph
from latentloom.engine.graph.lint import file_warnings

from .routes import RequestError, Routes, answer, read_object
from .site import Site

routes = Routes()
FORMS = ("yaml", "json", "comfy", "editor")


@routes.add("POST", "/latentloom/convert", "A graph file in another form", body="json")
async def convert(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    text, form = body.get("text"), body.get("to")
    if not isinstance(text, str):
        raise RequestError(400, "`text` must be the text of a graph file")
    if form not in FORMS:
        raise RequestError(400, f"`to` must be one of {', '.join(FORMS)}")
    return answer(await site.pools.graphs.run(_convert, site, text, form))


def _convert(site: Site, text: str, form: str) -> dict[str, Any]:
    """Return the text in another form, and sentences on what it does not hold.

    Parts cannot be imported from files.
    """
    graph = parse_graph(text, site.registry)
    converted = convert_graph(graph, form, site.registry)
    return {
        "text": converted.text,
        "title": graph.title,
        "not_carried": [str(loss) for loss in converted.lost],
        "warnings": [warning.text for warning in file_warnings(graph, site.registry)],
    }
