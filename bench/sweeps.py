"""Sweeps: the overhead of a cell, and what sharing saves against separate runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.clock import Measurement, time_call
from bench.overhead import add, chain, out, start
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.sweep import Sweep
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.axes import make_axes
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.library import find_graph
from latentloom.engine.node.registry import Registry

CELLS, CELL_AIM_MS = 1_000, 1.0
STRENGTHS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
SEEDS = (1, 2, 3)
PASSES = (0.3, 0.3, 0.25, 0.25, 0.2, 0.2)


def sweep_rows() -> Iterator[Measurement]:
    """Measure no-op cells, and 24 cells of a graph of six passes on the demo model."""
    with Engine(Registry.of(start, add, out)) as engine, tempfile.TemporaryDirectory() as folder:
        axes = make_axes({"out.b": range(CELLS)})
        sweep = Sweep(engine, Workspace(output_dir=Path(folder)), chain(4), axes)
        seconds = time_call(lambda: list(sweep.run()))
        yield Measurement(
            f"sweep of {CELLS} no-op cells", seconds / CELLS * 1e3, "ms a cell", CELL_AIM_MS
        )
    yield from _six_passes()


def _six_passes() -> Iterator[Measurement]:
    import latentloom

    path = find_graph("multi_pass")
    assert path is not None
    graph = latentloom.load(path).set_input("denoise", list(PASSES))
    over = {"pass6.denoise": STRENGTHS, "pass6.seed": SEEDS}
    for name, batches in (("", True), (", --no-batch", False)):
        with Engine(latentloom.registry()) as engine, tempfile.TemporaryDirectory() as folder:
            workspace = latentloom.workspace(graph, output_dir=folder)
            engine.run(graph, workspace, targets=["positive"])  # the model is loaded
            sweep = Sweep(engine, workspace, graph, make_axes(over), batches=batches)
            calls = 0

            def run_all(sweep: Sweep = sweep) -> None:
                nonlocal calls
                calls = sum(result.model_calls for result in sweep.run())

            seconds = time_call(run_all)
            label = f"24 cells of six passes, one sweep{name}"
            yield Measurement(label, seconds, "s")
            yield Measurement(f"{label}: model calls", calls, "calls")
    yield from _separate_runs(graph)


def _separate_runs(graph: Graph) -> Iterator[Measurement]:
    """Measure the same cells as runs that share nothing but the loaded model."""
    import latentloom

    calls, seconds = 0, 0.0
    for strength in STRENGTHS:
        for seed in SEEDS:
            cell = graph.set("pass6.denoise", strength).set("pass6.seed", seed)
            with Engine(latentloom.registry()) as engine, tempfile.TemporaryDirectory() as folder:
                workspace = latentloom.workspace(cell, output_dir=folder)
                result = engine.run(cell, workspace)
                calls, seconds = calls + result.model_calls, seconds + result.seconds
    yield Measurement("24 cells of six passes, separate runs", seconds, "s")
    yield Measurement("24 cells of six passes, separate runs: model calls", calls, "calls")
