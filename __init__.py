"""Latentloom from Python: load, build, plan and run graphs.

    import latentloom
    graph = latentloom.load("graphs/img2img.yaml").set_input("denoise", 0.6)
    print(latentloom.plan(graph).nodes["sample"].why)
    result = latentloom.run(graph)
    image = result["decode"]

torch and diffusers are imported when a node first needs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

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
from latentloom.engine.execution.environment import PROGRAM_VERSION
from latentloom.engine.execution.events import AnyEvent, OnEvent
from latentloom.engine.execution.executor import Engine, NodeReport, Result
from latentloom.engine.execution.plan import Plan, Step
from latentloom.engine.execution.scores import Ranking
from latentloom.engine.execution.sweep import CellResult, Sweep
from latentloom.engine.execution.sweep_table import SweepRun
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import load_graph, parse_graph, save_graph
from latentloom.engine.graph.axes import make_axes, read_axes
from latentloom.engine.graph.builder import Builder
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from latentloom.engine.graph.library import find_graph, graphs_dir
from latentloom.engine.graph.lint import LintWarning
from latentloom.engine.graph.lint import lint as find_warnings
from latentloom.engine.graph.migrations import migration, rename_inputs, rename_options
from latentloom.engine.node.cancel import CancelToken
from latentloom.engine.node.context import Context
from latentloom.engine.node.ports import (
    Between,
    Branches,
    Choices,
    Formerly,
    Growing,
    Lazy,
    Matched,
    Socket,
    Text,
)
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
    "Between", "Branches", "Builder", "CancelToken", "CellResult", "Choices", "Clip",
    "Conditioning", "Context", "ControlNet", "Engine", "FormatError", "Formerly", "Graph",
    "GraphError", "GraphInput", "Growing", "Image", "InputError", "InputRef", "Latent",
    "LatentloomError", "Lazy", "Link", "LintWarning", "Mask", "Matched", "Model", "Node",
    "NodeError", "NodeReport", "Plan", "Problem", "Registry", "Result", "RunCancelledError",
    "RunError", "Seed", "Socket", "SpecError", "Step", "SweepRun", "Text", "Vae", "Workspace",
    "build", "check", "default_engine", "lint", "load", "loads", "migration", "node", "plan",
    "registry", "rename_inputs", "rename_options", "run", "run_async", "save", "sweep", "workspace",
]  # fmt: skip

__version__ = PROGRAM_VERSION
GraphOrPath = Graph | str | os.PathLike[str]


@cache
def default_engine() -> Engine:
    """Return the engine that these functions share, with the disk cache of the environment."""
    nodes = registry()
    return Engine(nodes, store=open_store(nodes))


def load(path: str | os.PathLike[str]) -> Graph:
    """Load a graph: native YAML or JSON, a ComfyUI workflow, or an image that carries a graph.

    Args:
        path: a file, or the name of a shipped graph such as `img2img`.

    Raises:
        FormatError: the file is not a graph.
        OSError: the file does not exist.
    """
    file = Path(path)
    if not file.exists():
        file = find_graph(str(path)) or file
    return load_graph(file, registry())


def _as_graph(graph: GraphOrPath) -> Graph:
    return graph if isinstance(graph, Graph) else load(graph)


def loads(text: str) -> Graph:
    """Parse a graph from a string: native YAML or JSON, or ComfyUI's JSON.

    Raises:
        FormatError: the string is not a graph.
    """
    return parse_graph(text, registry())


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph: `.yaml` and `.json` are native, `.api.json` is ComfyUI's API format.

    Raises:
        FormatError: the format cannot express the graph.
    """
    save_graph(graph, Path(path), registry())


def build(title: str = "") -> Builder:
    """Return a builder: `builder.KSampler(...)` adds a node, `builder.graph` is the graph."""
    return Builder(registry(), title)


def workspace(
    graph: Graph,
    output_dir: str | os.PathLike[str] = "output",
    input_dir: str | os.PathLike[str] = "input",
    granted: Iterable[Path] = (),
) -> Workspace:
    """Return the folders that a graph reads files from and writes results to.

    Args:
        granted: files that the graph may name outside these folders. Inputs given as a `Path`
            are granted too: a graph loaded from a file holds none.
    """
    named = [value for node in graph.bound().nodes.values() for value in node.inputs.values()]
    return Workspace(
        graph_dir=graph.source.parent if graph.source else None,
        input_dir=Path(input_dir),
        output_dir=Path(output_dir),
        library_dir=graphs_dir(),
        granted=frozenset({*granted, *(value for value in named if isinstance(value, Path))}),
    )


def check(graph: GraphOrPath, folders: Workspace | None = None) -> tuple[Problem, ...]:
    """Return every problem of a graph; empty if it can run."""
    graph = _as_graph(graph)
    return default_engine().check(graph, folders or workspace(graph))


def lint(graph: GraphOrPath, folders: Workspace | None = None) -> tuple[LintWarning, ...]:
    """Return warnings about a graph that is valid but probably not what was meant."""
    graph = _as_graph(graph)
    return find_warnings(graph, registry(), folders or workspace(graph))


def plan(
    graph: GraphOrPath, folders: Workspace | None = None, targets: Iterable[str] | None = None
) -> Plan:
    """Return what `run` would do to each node, and why.

    Raises:
        GraphError: the graph cannot run.
    """
    graph = _as_graph(graph)
    return default_engine().plan(graph, folders or workspace(graph), targets)


def run(
    graph: GraphOrPath,
    folders: Workspace | None = None,
    targets: Iterable[str] | None = None,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Result:
    """Run a graph and return its result; `result[id]` is the output of node `id`.

    Args:
        graph: a graph, a file, or the name of a shipped graph.
        folders: where files are read and written; by default `workspace(graph)`.
        targets: the nodes to compute; by default every output node.
        on_event: called with each event of the run.
        cancel: a token that stops the run from another thread.

    Raises:
        GraphError: the graph cannot run; nothing was run.
        RunError: nodes failed; its `result` holds the outputs of the others.
    """
    graph = _as_graph(graph)
    result = default_engine().run(graph, folders or workspace(graph), targets, on_event, cancel)
    if result.errors:
        raise RunError(result.errors, result)
    return result


def sweep(
    graph: GraphOrPath,
    over: Mapping[str, Iterable[Any]] | None = None,
    *,
    zip: bool = False,
    best: str = "",
    batches: bool = True,
    folders: Workspace | None = None,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> SweepRun:
    """Return a sweep; iterating over it runs the graph for each combination of values.

        cells = latentloom.sweep("img2img", over={"denoise": [0.3, 0.5], "sample.seed": range(4)})
        for cell in cells:
            image = cell["decode"]
        print(cells.table)

    What cells share is computed once. Cells that an earlier sweep into the same output folder
    finished are not run again; they have their files and scores, but no outputs.

    Args:
        over: values by the name of an input of the graph, by `node.input`, or by `prompt:text`,
            where they replace words of a prompt; by default what the graph has under `sweep:`.
        zip: move all axes together, value by value, instead of combining them.
        batches: sample equal-shape cells as one batch, which gives the same up to rounding.
        best: an expression over scores, such as `edges.f1 - 0.01 * change.delta_e`.

    Raises:
        FormatError: there are no values, or more than 10,000 cells, or `best` is wrong.
        GraphError: there is no such input.
    """
    graph = _as_graph(graph)
    axes = make_axes(over) if over is not None else read_axes(graph.sweep)
    zipped, best = zip or graph.sweep.get("zip", False), best or graph.sweep.get("best", "")
    ranking = Ranking(best) if best else None
    if ranking is not None:
        ranking.check(graph, registry())
    cells = Sweep(default_engine(), folders or workspace(graph), graph, axes, zipped, batches)
    return SweepRun(cells, ranking, on_event, cancel)


async def run_async(
    graph: GraphOrPath,
    folders: Workspace | None = None,
    targets: Iterable[str] | None = None,
    on_event: OnEvent | None = None,
) -> Result:
    """Run a graph without blocking the event loop; cancelling the task stops the run.

    Events are delivered in the loop. Arguments and errors are those of `run`.
    """
    import asyncio

    loop, token = asyncio.get_running_loop(), CancelToken()

    def forward(event: AnyEvent) -> None:
        if on_event is not None:
            loop.call_soon_threadsafe(on_event, event)

    work = asyncio.to_thread(run, graph, folders, targets, forward, token)
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        token.cancel()
        await asyncio.wait([task])
        raise
