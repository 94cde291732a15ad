"""Latentloom from Python: load, build, plan and run graphs.

    import latentloom
    graph = latentloom.load("graphs/img2img.yaml").set_input("denoise", 0.6)
    print(latentloom.plan(graph).nodes["sample"].why)
    result = latentloom.run(graph)
    image = result["decode"]

Nothing heavy is imported before a node needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from latentloom.engine.cache.generation import open_store
from latentloom.engine.errors import (
    FormatError,
    GraphError,
    InputError,
    LatentloomError,
    NodeError,
    Problem,
    RunCancelledError,
    RunError,
    SpecError,
)
from latentloom.engine.execution.events import AnyEvent, OnEvent
from latentloom.engine.execution.executor import Engine, NodeReport, Result
from latentloom.engine.execution.plan import Plan, Step
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import load_graph, parse_graph, save_graph
from latentloom.engine.graph.builder import Builder
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from latentloom.engine.graph.library import find_graph, graphs_dir
from latentloom.engine.graph.lint import LintWarning
from latentloom.engine.graph.lint import lint as find_warnings
from latentloom.engine.node.cancel import CancelToken
from latentloom.engine.node.context import Context
from latentloom.engine.node.ports import Between, Choices, Socket, Text
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes import registry
from latentloom.nodes.ports import (
    Clip,
    Conditioning,
    ControlNet,
    Image,
    Latent,
    Mask,
    Model,
    Seed,
    Vae,
)

__all__ = [
    "Between", "Builder", "CancelToken", "Choices", "Clip", "Conditioning", "Context",
    "ControlNet", "Engine", "FormatError", "Graph", "GraphError", "GraphInput", "Image",
    "InputError", "InputRef", "Latent", "LatentloomError", "Link", "LintWarning", "Mask",
    "Model", "Node", "NodeError", "NodeReport", "Plan", "Problem", "Registry", "Result",
    "RunCancelledError", "RunError", "Seed", "Socket", "SpecError", "Step", "Text", "Vae",
    "Workspace", "build", "check", "default_engine", "lint", "load", "loads", "node", "plan",
    "registry", "run", "run_async", "save", "workspace",
]  # fmt: skip

__version__ = "0.1.0"
GraphOrPath = Graph | str | os.PathLike[str]


@cache
def default_engine() -> Engine:
    """Return the engine that the functions here share; its cache is on the disk too."""
    nodes = registry()
    return Engine(nodes, store=open_store(nodes))


def load(path: str | os.PathLike[str]) -> Graph:
    """The graph in a file: native YAML or JSON, ComfyUI's API JSON, or an image saved by either.

    A bare name such as `img2img` finds a shipped graph.

    Raises:
        FormatError: it cannot be read as a graph.
        OSError: there is no such file.
    """
    file = Path(path)
    if not file.exists():
        file = find_graph(str(path)) or file
    return load_graph(file, registry())


def _opened(graph: GraphOrPath) -> Graph:
    return graph if isinstance(graph, Graph) else load(graph)


def loads(text: str) -> Graph:
    """The graph in a text: native YAML or JSON, or ComfyUI's API JSON.

    Raises:
        FormatError: it cannot be read as a graph.
    """
    return parse_graph(text, registry())


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph; `.yaml` and `.json` are native, `.api.json` is ComfyUI's.

    Raises:
        FormatError: the form cannot hold the graph.
    """
    save_graph(graph, Path(path), registry())


def build(title: str = "") -> Builder:
    """A builder: `builder.KSampler(...)` records a node, `builder.graph` is the graph."""
    return Builder(registry(), title)


def workspace(
    graph: Graph,
    output_dir: str | os.PathLike[str] = "output",
    input_dir: str | os.PathLike[str] = "input",
    granted: Iterable[Path] = (),
) -> Workspace:
    """The folders that a graph's files are looked up in and written to.

    Args:
        granted: files that the graph may name, wherever they are; those that it names as a
            `Path` are, as no file's graph can.
    """
    named = [value for node in graph.bound().nodes.values() for value in node.inputs.values()]
    return Workspace(
        graph_dir=graph.source.parent if graph.source else None,
        input_dir=Path(input_dir),
        output_dir=Path(output_dir),
        library_dir=graphs_dir(),
        granted=frozenset({*granted, *(value for value in named if isinstance(value, Path))}),
    )


def check(graph: GraphOrPath, where: Workspace | None = None) -> tuple[Problem, ...]:
    """Every problem of a graph; empty if there is none."""
    graph = _opened(graph)
    return default_engine().check(graph, where or workspace(graph))


def lint(graph: GraphOrPath, where: Workspace | None = None) -> tuple[LintWarning, ...]:
    """What a graph is allowed to do and hardly means to; empty if there is nothing to say."""
    graph = _opened(graph)
    return find_warnings(graph, registry(), where or workspace(graph))


def plan(
    graph: GraphOrPath, where: Workspace | None = None, targets: Iterable[str] | None = None
) -> Plan:
    """What `run` would do to each node, and why.

    Raises:
        GraphError: the graph cannot run.
    """
    graph = _opened(graph)
    return default_engine().plan(graph, where or workspace(graph), targets)


def run(
    graph: GraphOrPath,
    where: Workspace | None = None,
    targets: Iterable[str] | None = None,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Result:
    """Run a graph and return its outputs; `result[id]` is what node `id` gave.

    Args:
        graph: or what `load` takes: a file, or the name of a shipped graph.
        where: folders; by default those of `workspace(graph)`.
        targets: nodes to run for; by default every output node.
        on_event: called with each event of the run.
        cancel: stops the run from another thread.

    Raises:
        GraphError: the graph cannot run; nothing was run.
        RunError: nodes failed; what else was made is in its `result`.
    """
    graph = _opened(graph)
    result = default_engine().run(graph, where or workspace(graph), targets, on_event, cancel)
    if result.errors:
        raise RunError(result.errors, result)
    return result


async def run_async(
    graph: GraphOrPath,
    where: Workspace | None = None,
    targets: Iterable[str] | None = None,
    on_event: OnEvent | None = None,
) -> Result:
    """`run` beside an event loop; events arrive in the loop, and cancelling the task stops it."""
    import asyncio

    loop, token = asyncio.get_running_loop(), CancelToken()

    def forward(event: AnyEvent) -> None:
        if on_event is not None:
            loop.call_soon_threadsafe(on_event, event)

    work = asyncio.to_thread(run, graph, where, targets, forward, token)
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        token.cancel()
        await asyncio.wait([task])
        raise
