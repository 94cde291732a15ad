"""`latentloom sweep`: the cells of a sweep as they end, and their results as files."""

from __future__ import annotations

import argparse
import sys
import time

from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.scores import Ranking
from latentloom.engine.execution.sweep import CellResult, Sweep, SweepPlan
from latentloom.engine.execution.sweep_table import SweepTable
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.axes import read_axes
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.cancel import CancelToken

from .axes import parse_axis, parse_replacement
from .batch import STATE_TEXT, summarize
from .progress import Reporter
from .sweep_files import table_to_object, write_results
from .views import to_json


def run_sweep(
    graph: Graph,
    workspace: Workspace,
    options: argparse.Namespace,
    engine: Engine,
    report: Reporter,
    cancel: CancelToken,
    as_json: bool,
) -> list[CellResult]:
    """Run the sweep of the command line, print each outcome, and write the results."""
    sweep = _open_sweep(graph, workspace, options, engine)
    best = options.best or graph.sweep.get("best", "")
    ranking = Ranking(best) if best else None
    if ranking is not None:
        ranking.check(graph, engine.registry)
    results: list[CellResult] = []
    total, start, ran = len(sweep.cells), time.monotonic(), 0
    for result in sweep.run(report, cancel):
        results.append(result.without_values())
        ran += result.state != "skipped"
        if not as_json:
            left = (time.monotonic() - start) / max(1, ran) * (total - len(results))
            line = f"{len(results)} of {total}: {result.cell.label}: {STATE_TEXT[result.state]}"
            more = f"; about {left:.0f} s left" if ran and len(results) < total else ""
            print(line + more, file=sys.stderr, flush=True)
            for error in result.errors:
                print(error, file=sys.stderr)
    table = SweepTable(sweep, results, ranking)
    files = write_results(workspace.output_dir, graph.title, table)
    if as_json:
        content = table_to_object(table, graph.title, workspace.output_dir)
        print(to_json({**content, "of": total, "files": [str(path) for path in files]}))
        return results
    for path in files:
        print(path)
    for line in summarize([(result.cell.label, result) for result in results], total):
        print(line, file=sys.stderr)
    gain = sweep.gain
    if gain.batches:
        print(
            f"{gain.calls} samplings in {gain.batches} batches: {gain.model_calls} model calls "
            f"instead of {gain.separate_model_calls}; --no-batch samples each cell by itself",
            file=sys.stderr,
        )
    for rank, result in enumerate(table.best, start=1):
        print(f"best {rank}: {result.cell.label}: {table.value(result):.6g}", file=sys.stderr)
    return results


def _open_sweep(
    graph: Graph, workspace: Workspace, options: argparse.Namespace, engine: Engine
) -> Sweep:
    """Return the sweep of the command line's axes, or of the file's if it names none."""
    registry = engine.registry
    axes = [parse_axis(name, text, graph, registry) for name, text in options.over]
    axes += [parse_replacement(name, text) for name, text in options.replace]
    zipped = options.zip
    if not axes and graph.sweep:
        axes, zipped = list(read_axes(graph.sweep)), zipped or graph.sweep.get("zip", False)
    batches = not getattr(options, "no_batch", False)
    return Sweep(engine, workspace, graph, axes, zipped, batches)


def print_sweep_plan(
    graph: Graph, workspace: Workspace, options: argparse.Namespace, engine: Engine
) -> int:
    """Print what a sweep would do; return the exit code."""
    plan = _open_sweep(graph, workspace, options, engine).plan()
    print(to_json(sweep_plan_to_object(plan)) if options.json else format_sweep_plan(plan))
    return 0


def format_sweep_plan(plan: SweepPlan) -> str:
    """Return what a sweep will do as a sentence."""
    took = "" if plan.seconds is None else f", {plan.seconds:.1f} s by their last durations"
    done = f", {plan.finished} already done" if plan.finished else ""
    return (
        f"{plan.cells} cells{done}: {plan.nodes} nodes run{took}; "
        f"separate runs without caches: {plan.unshared}"
    )


def sweep_plan_to_object(plan: SweepPlan) -> dict[str, object]:
    """Return what `plan --over --json` prints."""
    return {
        "status": "planned",
        "cells": plan.cells,
        "finished": plan.finished,
        "nodes": plan.nodes,
        "unshared_nodes": plan.unshared,
        "seconds": plan.seconds,
    }
