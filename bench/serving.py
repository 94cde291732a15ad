"""`python -m bench.serving`: what the server costs, seen from outside, through HTTP with a socket.

The server is a process of its own on a fresh folder, and the figures are those of a client beside
it on the same machine: from the submission of a graph to the message that its history is written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench import overhead
from bench.clock import Row
from latentloom.engine.cache.generation import VARIABLE
from latentloom.engine.node.registry import Registry
from latentloom.web.client import Client
from latentloom.web.serving import main as serve

ROOT = Path(__file__).parent.parent
SIZES = (10, 100, 1_000, 3_000)
APART, LARGE = 100_000, 1_000
REPEATS, PROMPTS, CONNECTIONS, WATCHERS, IMAGES = 3, 200, 16, 200, 500
FIRST_ANSWER_AIM_S = 1.5
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
Prompt = dict[str, Any]


class Server:
    """A server on a fresh folder, and how long it took to its first answer."""

    def __init__(self, data: Path) -> None:
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.serving", "--serve", str(data)],
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(data / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rstrip("/")
        with urlopen(f"{self.url}/object_info", timeout=60) as response:
            response.read()
        self.first_answer_s = time.perf_counter() - begun
        self.first_answer_cpu_s = self.cpu_s

    @property
    def cpu_s(self) -> float:
        """The processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory_mb(self) -> float:
        """What it holds in memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * PAGE / 2**20

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def chain(size: int, first: int, last: int = 1) -> Prompt:
    """A graph of no-ops that each feed the next; no two of another `first` share a value."""
    nodes: Prompt = {"0": {"class_type": "Start", "inputs": {"value": first * APART}}}
    for place in range(1, size - 1):
        inputs = {"a": [str(place - 1), 0], "b": 1}
        nodes[str(place)] = {"class_type": "Add", "inputs": inputs}
    inputs = {"a": [str(size - 2), 0], "b": last}
    return {**nodes, "out": {"class_type": "Out", "inputs": inputs}}


def image(colour: int) -> Prompt:
    """A small image of one colour, inverted and saved."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "e": {"class_type": "EmptyImage", "inputs": {**size, "color": colour}},
        "i": {"class_type": "ImageInvert", "inputs": {"image": ["e", 0]}},
        "s": {"class_type": "SaveImage", "inputs": {"images": ["i", 0], "filename_prefix": "x"}},
    }


async def done(client: Client, prompt: Prompt) -> int:
    """Submit a graph and follow it to its end; the bytes of the messages about it."""
    total, job = 0, await client.submit(prompt)
    async for event in client.follow(job):
        total += len(json.dumps({"type": event.type, "data": dict(event.data)}))
    return total


async def timed(work: Awaitable[object]) -> float:
    """The seconds that it takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def sizes(server: Server) -> AsyncIterator[Row]:
    """Graphs of growing size: never run, all cached, the last node changed; and their traffic."""
    async with Client(server.url) as client:
        for size in SIZES:
            found: dict[str, list[tuple[float, float, int]]] = {}
            for turn in range(REPEATS):
                first = turn + size * 10
                graphs = (chain(size, first), chain(size, first), chain(size, first, last=2))
                for name, graph in zip(("first", "cached", "last changed"), graphs, strict=True):
                    before, start = server.cpu_s, time.perf_counter()
                    traffic = await done(client, graph)
                    took = time.perf_counter() - start
                    found.setdefault(name, []).append((took, server.cpu_s - before, traffic))
            for name, runs in found.items():
                walls, cpus, bytes_ = zip(*runs, strict=True)
                yield Row(f"{size} nodes, {name}", statistics.median(walls) * 1000, "ms")
                if size >= LARGE:
                    each = statistics.mean(cpus) / size * 1e6
                    yield Row(f"{size} nodes, {name}, processor", each, "µs a node")
                if name == "first":
                    yield Row(f"{size} nodes, {name}, on the socket", bytes_[0] / size, "B a node")


async def many(url: str, connections: int) -> Row:
    """Prompts on several connections at once."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(url)) for _ in range(connections)]

        async def share(place: int, client: Client) -> None:
            for number in range(place, PROMPTS, connections):
                await done(client, chain(10, 10_000 * connections + number))

        works = (share(place, client) for place, client in enumerate(clients))
        took = await timed(asyncio.gather(*works))
    return Row(f"{PROMPTS} prompts, {connections} connections", PROMPTS / took, "per s")


async def watched(url: str) -> AsyncIterator[Row]:
    """A run that nobody else watches, and the same size with many sockets open."""
    async with Client(url) as client:
        alone = statistics.median(
            [await timed(done(client, chain(1_000, 700_000 + turn))) for turn in range(REPEATS)]
        )
        async with watchers(url):
            among = statistics.median(
                [await timed(done(client, chain(1_000, 800_000 + t))) for t in range(REPEATS)]
            )
    yield Row(f"1000 nodes, {WATCHERS} more sockets / none", among / alone, "times")


@asynccontextmanager
async def watchers(url: str) -> AsyncIterator[None]:
    """Sockets that read all that they are told."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(url)) for _ in range(WATCHERS)]

        async def listen(client: Client) -> None:
            async for _ in client.follow("none"):
                pass

        listening = [asyncio.create_task(listen(client)) for client in clients]
        try:
            yield
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


async def memory(server: Server) -> AsyncIterator[Row]:
    """What many images leave behind, after the first few have loaded what they need."""
    async with Client(server.url) as client:
        for colour in range(20):
            await done(client, image(colour))
        before = server.memory_mb
        for colour in range(20, 20 + IMAGES):
            await done(client, image(colour))
    yield Row(f"memory after {IMAGES} images", server.memory_mb, "MB")
    yield Row("of it since the first 20", server.memory_mb - before, "MB")


async def measure(tell: Callable[[Row], None]) -> None:
    """Every figure, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        starts = []
        for turn in range(REPEATS):
            server = Server(Path(folder) / str(turn))
            starts.append((server.first_answer_s, server.first_answer_cpu_s))
            server.stop()
        wall, cpu = (statistics.median(found) for found in zip(*starts, strict=True))
        tell(Row("start to /object_info", wall, "s", FIRST_ANSWER_AIM_S))
        tell(Row("start to /object_info, processor", cpu, "s"))
        server = Server(Path(folder) / "measured")
        try:
            async for row in sizes(server):
                tell(row)
            for connections in (1, CONNECTIONS):
                tell(await many(server.url, connections))
            async for row in watched(server.url):
                tell(row)
            async for row in memory(server):
                tell(row)
        finally:
            server.stop()


def serving_rows() -> list[Row]:
    """Every figure."""
    rows: list[Row] = []
    asyncio.run(measure(rows.append))
    return rows


def main() -> None:
    """Measure and print, or be the server that is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--serve", metavar="DATA", help="be the server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.serve:
        nodes = Registry.of(overhead.start, overhead.add, overhead.out)
        arguments = ["--data", options.serve, "--port", "0"]
        sys.exit(serve(arguments, lambda: Registry.from_package("latentloom.nodes") | nodes))
    rows: list[Row] = []

    def tell(row: Row) -> None:
        print(f"{row.name:46} {row.value:10.2f} {row.unit}", flush=True)
        rows.append(row)

    asyncio.run(measure(tell))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
