"""A server in this process for tests, on nodes that cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes import codecs, image, image_file
from latentloom.web.app import make_app
from latentloom.web.client import Client
from latentloom.web.site import Options, Site
from tests.engine import fakes

TestServer.__test__ = False


@node("Write", category="test", output=True)
def write(value: int, context: Context, folder: str = "") -> Saved:
    """Write a number into a file of the output folder."""
    fakes.note(f"Write {value}")
    target = context.output_dir / folder
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"number_{value}.txt"
    path.write_text(str(value))
    return Saved((path,), f"wrote {value}")


@node("WriteFloat", category="test", output=True)
def write_float(value: float) -> None:
    """Take a number with a fraction."""


# A story that hangs ends; none depends on being quick.
MAX_STORY_S = 600
FAKES = Registry.of(fakes, write, write_float, image, image_file, codecs)


@dataclass
class Served:
    """A server, its site, and a client of it."""

    url: str
    site: Site
    app: web.Application
    client: Client
    session: ClientSession

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, json=json, **options)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"{self.url}{path}", **options) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.read()


@asynccontextmanager
async def serving(
    data: Path, registry: Registry = FAKES, token: str = "", **options: Any
) -> AsyncIterator[Served]:
    """A server on a data folder."""
    site = Site(Options(data, token=token, **options), registry)
    app = make_app(site)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    url = f"http://127.0.0.1:{server.port}"
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with ClientSession(headers=headers) as session, Client(url, token) as client:
            yield Served(url, site, app, client, session)
    finally:
        await server.close()


def served(
    data: Path, story: Callable[[Served], Awaitable[None]], registry: Registry = FAKES, **how: Any
) -> None:
    """Tell a story on a server, and stop it."""

    async def tell() -> None:
        async with serving(data, registry, **how) as result:
            await asyncio.wait_for(story(result), MAX_STORY_S)

    asyncio.run(tell())


def prompt(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A graph in API format: `n=("Number", {"value": 3})`."""
    return {id: {"class_type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()}


def number(value: int = 1, **extra: Any) -> dict[str, Any]:
    """A graph of two nodes that writes a number into a file."""
    return prompt(n=("Number", {"value": value}), w=("Write", {"value": ["n", 0], **extra}))
