"""What the server costs: its start, no-op graphs over HTTP with a socket, many clients, memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp

from bench.clock import Row, median_seconds
from bench.overhead import add, out, start
from engine.registry import Registry
from web.client import Client
from web.serving import main

SIZES = (10, 100, 1_000, 3_000)
PROMPTS, CONNECTIONS, WATCHERS, PICTURES = 200, 16, 200, 500
START_AIM_MS = 1_500.0


def serving_rows() -> Iterator[Row]:
    """Every figure of the server."""
    yield Row("serve: start to first answer", median_seconds(_start, 3) * 1e3, "ms", START_AIM_MS)
    with _server("bench.serving") as (url, _):
        yield from asyncio.run(_graphs(url))
        yield from asyncio.run(_many(url))
    with _server("server") as (url, process):
        yield from asyncio.run(_memory(url, process.pid))


def chain(size: int, last: int = 1) -> dict[str, Any]:
    """Nodes that feed each other, in API format; `last` is an input of the last one but one."""
    nodes: dict[str, Any] = {"0": {"class_type": "Start", "inputs": {"value": size}}}
    for step in range(1, size - 1):
        value = last if step == size - 2 else 1
        nodes[str(step)] = {"class_type": "Add", "inputs": {"a": [str(step - 1), 0], "b": value}}
    nodes["out"] = {"class_type": "Out", "inputs": {"a": [str(size - 2), 0]}}
    return nodes


def _start() -> None:
    with _server("server") as (url, _), urlopen(f"{url}/queue", timeout=30) as response:
        response.read()


@contextmanager
def _server(module: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", module, "--data", data, "--port", "0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().rstrip("/"), process
        finally:
            process.kill()
            process.wait()


async def _graphs(url: str) -> list[Row]:
    """Submit to done, over HTTP and a socket, in this order: first, cached, last changed."""
    rows = []
    async with _socket(url, "bench") as (session, socket):
        for size in SIZES:
            for name, graph in (
                ("first", chain(size)), ("cached", chain(size)), ("last changed", chain(size, 2)),
            ):  # fmt: skip
                begin = time.perf_counter()
                received = await _run(session, socket, url, graph, "bench")
                took = time.perf_counter() - begin
                rows.append(Row(f"serve: chain of {size}, {name}", took * 1e3, "ms"))
                if name == "first":
                    row = Row(f"serve: chain of {size}, socket", received / size, "bytes/node")
                    rows.append(row)
    return rows


async def _many(url: str) -> list[Row]:
    """Many prompts, one after another and at once; and one run that many watch."""
    rows = []
    async with _socket(url, "one") as (session, socket):
        begin = time.perf_counter()
        for value in range(PROMPTS):
            await _run(session, socket, url, chain(10, 100 + value), "one")
        each = (time.perf_counter() - begin) / PROMPTS
        rows.append(Row(f"serve: {PROMPTS} prompts in turn, each", each * 1e3, "ms"))

        async def some(first: int) -> None:
            for value in range(first, PROMPTS, CONNECTIONS):
                body = {"prompt": chain(10, 1_000 + value)}
                async with session.post(f"{url}/prompt", json=body) as response:
                    assert response.status == 200

        begin = time.perf_counter()
        await asyncio.gather(*(some(first) for first in range(CONNECTIONS)))
        each = (time.perf_counter() - begin) / PROMPTS
        rows.append(Row(f"serve: accepted on {CONNECTIONS} connections, each", each * 1e3, "ms"))
        await _idle(session, url)
        watchers = [await session.ws_connect(f"{url}/ws") for _ in range(WATCHERS)]
        begin = time.perf_counter()
        await _run(session, socket, url, chain(1_000, 77), "one")
        took = time.perf_counter() - begin
        rows.append(Row(f"serve: chain of 1000, {WATCHERS} more sockets", took * 1e3, "ms"))
        for watcher in watchers:
            await watcher.close()
    return rows


async def _memory(url: str, pid: int) -> list[Row]:
    """How much more memory the process has after many pictures than after some."""

    def picture(value: int) -> dict[str, Any]:
        size = {"width": 256, "height": 256, "batch_size": 1, "color": value}
        return {
            "1": {"class_type": "EmptyImage", "inputs": size},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }

    async with Client(url) as client:
        for value in range(50):
            await client.run(picture(value))
        before = _resident(pid)
        for value in range(50, 50 + PICTURES):
            await client.run(picture(value))
        grown = _resident(pid) - before
    return [Row(f"serve: memory after {PICTURES} more pictures", grown / 2**20, "MiB more")]


def _resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where the system does not say."""
    place = Path(f"/proc/{pid}/statm")
    return int(place.read_text().split()[1]) * 4096 if place.exists() else 0


@asynccontextmanager
async def _socket(
    url: str, client: str
) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ws?clientId={client}") as socket,
    ):
        yield session, socket


async def _run(
    session: aiohttp.ClientSession,
    socket: aiohttp.ClientWebSocketResponse,
    url: str,
    graph: dict[str, Any],
    client: str,
) -> int:
    """Run a graph to its last message; how many bytes the socket brought."""
    body = {"prompt": graph, "client_id": client}
    async with session.post(f"{url}/prompt", json=body) as response:
        job = (await response.json())["prompt_id"]
    received = 0
    while True:
        text = await socket.receive_str()
        received += len(text)
        if '"node": null' in text and job in text and json.loads(text)["type"] == "executing":
            return received


async def _idle(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until nothing is queued."""
    while True:
        async with session.get(f"{url}/prompt") as response:
            if not (await response.json())["exec_info"]["queue_remaining"]:
                return
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda: Registry.of(start, add, out)))
