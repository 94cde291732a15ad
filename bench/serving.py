"""Measure the server from outside, over HTTP with a WebSocket: `python -m bench.serving`.

The server runs in its own process on a fresh folder. A client on the same machine measures the
time from submitting a graph to the message that its history is written.
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
from bench.clock import Measurement
from latentloom.engine.cache.generation import VARIABLE
from latentloom.engine.node.registry import Registry
from latentloom.web.client import Client
from latentloom.web.serving import main as serve

ROOT = Path(__file__).parent.parent
SIZES = (10, 100, 1_000, 3_000)
VALUES_APART, LARGE = 100_000, 1_000
REPEATS, PROMPTS, CONNECTIONS, WATCHERS, IMAGES = 3, 200, 16, 200, 500
FIRST_RESPONSE_AIM_S = 1.5
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
Prompt = dict[str, Any]


class BenchServer:
    """A server on a fresh folder, and the time until it first responded."""

    def __init__(self, data: Path) -> None:
        start = time.perf_counter()
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
        self.first_response_s = time.perf_counter() - start
        self.first_response_cpu_s = self.cpu_s

    @property
    def cpu_s(self) -> float:
        """The processor time of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory_mb(self) -> float:
        """The resident memory of the server."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * PAGE / 2**20

    def stop(self) -> None:
        """Stop the server."""
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def chain(size: int, first: int, last: int = 1) -> Prompt:
    """Return a chain of no-op nodes; chains of different `first` have no value in common."""
    nodes: Prompt = {"0": {"class_type": "Start", "inputs": {"value": first * VALUES_APART}}}
    for index in range(1, size - 1):
        inputs = {"a": [str(index - 1), 0], "b": 1}
        nodes[str(index)] = {"class_type": "Add", "inputs": inputs}
    inputs = {"a": [str(size - 2), 0], "b": last}
    return {**nodes, "out": {"class_type": "Out", "inputs": inputs}}


def image_prompt(colour: int) -> Prompt:
    """Return a graph that makes a small image of one colour, inverts and saves it."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "e": {"class_type": "EmptyImage", "inputs": {**size, "color": colour}},
        "i": {"class_type": "ImageInvert", "inputs": {"image": ["e", 0]}},
        "s": {"class_type": "SaveImage", "inputs": {"images": ["i", 0], "filename_prefix": "x"}},
    }


async def run_prompt(client: Client, prompt: Prompt) -> int:
    """Submit a graph, follow it to its end, and return the bytes of its messages."""
    total, job = 0, await client.submit(prompt)
    async for event in client.follow(job):
        total += len(json.dumps({"type": event.type, "data": dict(event.data)}))
    return total


async def time_await(work: Awaitable[object]) -> float:
    """Return the seconds that an awaitable takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def measure_sizes(server: BenchServer) -> AsyncIterator[Measurement]:
    """Measure graphs of growing size: never run, all cached, the last node changed."""
    async with Client(server.url) as client:
        for size in SIZES:
            runs_by_name: dict[str, list[tuple[float, float, int]]] = {}
            for repeat in range(REPEATS):
                first = repeat + size * 10
                graphs = (chain(size, first), chain(size, first), chain(size, first, last=2))
                for name, graph in zip(("first", "cached", "last changed"), graphs, strict=True):
                    before, start = server.cpu_s, time.perf_counter()
                    message_bytes = await run_prompt(client, graph)
                    wall_s, cpu_s = time.perf_counter() - start, server.cpu_s - before
                    runs_by_name.setdefault(name, []).append((wall_s, cpu_s, message_bytes))
            for name, runs in runs_by_name.items():
                walls, cpus, sizes = zip(*runs, strict=True)
                yield Measurement(f"{size} nodes, {name}", statistics.median(walls) * 1000, "ms")
                if size >= LARGE:
                    per_node = statistics.mean(cpus) / size * 1e6
                    yield Measurement(f"{size} nodes, {name}, processor", per_node, "µs a node")
                if name == "first":
                    yield Measurement(
                        f"{size} nodes, {name}, on the socket", sizes[0] / size, "B a node"
                    )


async def measure_connections(url: str, connections: int) -> Measurement:
    """Measure prompts on several connections at once."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(url)) for _ in range(connections)]

        async def run_share(first: int, client: Client) -> None:
            for number in range(first, PROMPTS, connections):
                await run_prompt(client, chain(10, 10_000 * connections + number))

        shares = (run_share(index, client) for index, client in enumerate(clients))
        wall_s = await time_await(asyncio.gather(*shares))
    return Measurement(f"{PROMPTS} prompts, {connections} connections", PROMPTS / wall_s, "per s")


async def measure_watchers(url: str) -> AsyncIterator[Measurement]:
    """Measure a run with no other socket open, and one with many."""
    async with Client(url) as client:
        alone = statistics.median(
            [
                await time_await(run_prompt(client, chain(1_000, 700_000 + n)))
                for n in range(REPEATS)
            ]
        )
        async with open_watchers(url):
            watched = statistics.median(
                [
                    await time_await(run_prompt(client, chain(1_000, 800_000 + n)))
                    for n in range(REPEATS)
                ]
            )
    yield Measurement(f"1000 nodes, {WATCHERS} more sockets / none", watched / alone, "times")


@asynccontextmanager
async def open_watchers(url: str) -> AsyncIterator[None]:
    """Open sockets that read every message they receive."""
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


async def measure_memory(server: BenchServer) -> AsyncIterator[Measurement]:
    """Measure the memory after many images, and its growth after the first 20."""
    async with Client(server.url) as client:
        for colour in range(20):
            await run_prompt(client, image_prompt(colour))
        before = server.memory_mb
        for colour in range(20, 20 + IMAGES):
            await run_prompt(client, image_prompt(colour))
    yield Measurement(f"memory after {IMAGES} images", server.memory_mb, "MB")
    yield Measurement("growth since the first 20", server.memory_mb - before, "MB")


async def measure_all(report: Callable[[Measurement], None]) -> None:
    """Report every figure, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        starts = []
        for repeat in range(REPEATS):
            server = BenchServer(Path(folder) / str(repeat))
            starts.append((server.first_response_s, server.first_response_cpu_s))
            server.stop()
        wall, cpu = (statistics.median(times) for times in zip(*starts, strict=True))
        report(Measurement("start to /object_info", wall, "s", FIRST_RESPONSE_AIM_S))
        report(Measurement("start to /object_info, processor", cpu, "s"))
        server = BenchServer(Path(folder) / "measured")
        try:
            async for row in measure_sizes(server):
                report(row)
            for connections in (1, CONNECTIONS):
                report(await measure_connections(server.url, connections))
            async for row in measure_watchers(server.url):
                report(row)
            async for row in measure_memory(server):
                report(row)
        finally:
            server.stop()


def serving_rows() -> list[Measurement]:
    """Return every figure."""
    rows: list[Measurement] = []
    asyncio.run(measure_all(rows.append))
    return rows


def main() -> None:
    """Measure and print, or run as the measured server."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--serve", metavar="DATA", help="run as the measured server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    if options.serve:
        nodes = Registry.of(overhead.start, overhead.add, overhead.out)
        arguments = ["--data", options.serve, "--port", "0"]
        sys.exit(serve(arguments, lambda: Registry.from_package("latentloom.nodes") | nodes))
    rows: list[Measurement] = []

    def report(row: Measurement) -> None:
        print(f"{row.name:46} {row.value:10.2f} {row.unit}", flush=True)
        rows.append(row)

    asyncio.run(measure_all(report))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
