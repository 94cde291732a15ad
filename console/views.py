"""Plans, results, problems, nodes and the disk cache as text and as JSON objects."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.cache.disk import Store
from latentloom.engine.cache.generation import OFF, VARIABLE
from latentloom.engine.cache.gibibytes import GIB
from latentloom.engine.errors import GraphError, InputError, LatentloomError, NodeError, Problem
from latentloom.engine.execution.executor import Result
from latentloom.engine.execution.plan import Plan, Step
from latentloom.engine.execution.reasons import reason_to_object
from latentloom.engine.execution.requirements import Discrepancy, discrepancy_to_object
from latentloom.engine.formats.losses import Loss
from latentloom.engine.formats.native_values import thaw
from latentloom.engine.graph.lint import LintWarning
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import MISSING, NodeSpec, Output, Port

ACTIONS = {"run": "run", "reuse": "reused", "skip": "skipped"}


def to_json(value: Mapping[str, Any]) -> str:
    """Return an object as JSON text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def result_to_object(result: Result, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """Return what `run --json` prints.

    Args:
        problems: those of the outputs that did not run.
    """
    return {
        "status": result.status,
        "nodes": {
            id: {
                "type": report.type,
                "state": report.state,
                "from": report.tier,
                "why": str(report.why),
                "reason": reason_to_object(report.why),
                "seconds": round(report.seconds, 6),
            }
            for id, report in result.nodes.items()
        },
        "outputs": [{"node": id, "path": str(path)} for id, path in result.saved],
        "model_calls": result.model_calls,
        "seconds": round(result.seconds, 6),
        "errors": [
            *map(problem_to_object, problems),
            *(item for error in result.errors for item in error_to_objects(error)),
        ],
    }


def failure_to_object(error: Exception) -> dict[str, Any]:
    """Return what `--json` prints if nothing could be run."""
    return {
        "status": "failed",
        "nodes": {},
        "outputs": [],
        "model_calls": 0,
        "seconds": 0.0,
        "errors": error_to_objects(error),
    }


def print_conversion(
    path: Path, lost: Sequence[Loss], warnings: Sequence[LintWarning], as_json: bool
) -> None:
    """Print the path of a converted file, and the warnings about it.

    Args:
        lost: parts of the graph that the written file does not hold.
        as_json: print one JSON object.
    """
    if not as_json:
        print_warnings(warnings)
        for loss in lost:
            print(f"not carried: {loss}", file=sys.stderr)
        print(path)
        return
    outcome = {
        "status": "done",
        "path": str(path),
        "not_carried": [loss._asdict() for loss in lost],
        "warnings": [warning_to_object(warning) for warning in warnings],
    }
    print(to_json(outcome))


def plan_to_object(
    plan: Plan,
    warnings: Iterable[LintWarning] = (),
    problems: Iterable[Problem] = (),
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """Return what `plan --json` prints.

    Args:
        problems: those of the outputs that would not run.
        notes: sentences on how this machine's devices run nodes.
    """
    return {
        "status": "planned",
        "nodes": {
            id: {
                "type": step.type,
                "state": ACTIONS[step.action],
                "from": step.tier,
                "why": str(step.why),
                "reason": reason_to_object(step.why),
                "seconds": step.seconds,
            }
            for id, step in plan.nodes.items()
        },
        "seconds": plan.seconds,
        "notes": list(notes),
        "errors": [problem_to_object(problem) for problem in problems],
        "warnings": [warning_to_object(warning) for warning in warnings],
    }


def error_to_objects(error: Exception) -> list[dict[str, str]]:
    """Return an error as objects, one for each problem."""
    if isinstance(error, GraphError):
        return [problem_to_object(problem) for problem in error.problems]
    if isinstance(error, NodeError):
        cause = error.__cause__
        port = cause.port if isinstance(cause, InputError) else ""
        return [
            {
                "kind": "node_failed",
                "node": error.node,
                "type": error.type,
                "input": port,
                "message": str(error),
            }
        ]
    kind = "error" if isinstance(error, LatentloomError) else type(error).__name__
    return [{"kind": kind, "node": "", "type": "", "input": "", "message": format_error(error)}]


def format_error(error: Exception) -> str:
    """Return an error as text; for one of the system, the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def problem_to_object(problem: Problem | Discrepancy) -> dict[str, str]:
    """Return a problem, or a difference from a lock, as an object."""
    if isinstance(problem, Discrepancy):
        return discrepancy_to_object(problem)
    return {
        "kind": problem.kind,
        "node": problem.node,
        "type": problem.type,
        "input": problem.port,
        "expected": problem.expected,
        "got": problem.got,
        "hint": problem.hint,
        "message": str(problem),
    }


def warning_to_object(warning: LintWarning) -> dict[str, str]:
    """Return a lint warning as an object."""
    return {
        "rule": warning.rule,
        "node": warning.node,
        "type": warning.type,
        "input": warning.port,
        "text": warning.text,
        "hint": warning.hint,
    }


def format_warnings(warnings: Iterable[LintWarning]) -> str:
    """Return warnings as lines to append to others; empty if there are none."""
    return "".join(f"\nwarning ({warning.rule}): {warning}" for warning in warnings)


def print_warnings(warnings: Iterable[LintWarning]) -> None:
    """Print warnings on the standard error stream."""
    text = format_warnings(warnings).strip()
    if text:
        print(text, file=sys.stderr)


def format_plan(plan: Plan, notes: Iterable[str] = ()) -> str:
    """Return a plan as a table, with notes on how it will run below."""
    steps = plan.nodes.items()
    rows = [
        (id, step.type, _format_action(step), _format_seconds(step.seconds), str(step.why))
        for id, step in steps
    ]
    counts = f"{plan.count('run')} run, {plan.count('reuse')} reused, {plan.count('skip')} skipped"
    took = f"; what runs took {_format_seconds(plan.seconds)} last" if plan.seconds else ""
    table = format_table(("node", "type", "plan", "last took", "why"), rows)
    return "\n".join((table, f"{counts}{took}", *notes))


def _format_seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _format_action(step: Step) -> str:
    return f"{ACTIONS[step.action]} (disk)" if step.tier == "disk" else ACTIONS[step.action]


def format_node_table(registry: Registry) -> str:
    """Return the table of all nodes."""
    rows = [
        (spec.name, spec.category, _outputs(spec), ", ".join(port.name for port in spec.inputs))
        for spec in sorted(registry.values(), key=lambda spec: (spec.category, spec.name))
        if not spec.deprecated
    ]
    return format_table(("node", "category", "outputs", "inputs"), rows)


def format_node(spec: NodeSpec) -> str:
    """Return the documentation of a node, its inputs with ranges, and its outputs."""
    rows = [row for port in spec.inputs for row in _rows(port)]
    parts = [f"{spec.name}  ({spec.category})", "", spec.doc, ""]
    if rows:
        parts += [format_table(("input", "type", "default", "allowed"), rows), ""]
    parts.append(f"outputs: {_outputs(spec) or 'none'}")
    return "\n".join(parts)


def _rows(port: Port) -> Iterator[tuple[str, str, str, str]]:
    """Yield the row of an input, and those of the inputs that its choices add."""
    yield port.name, _type(port), _default(port), _allowed(port)
    for branch in port.branches:
        for inner in branch.ports:
            name = f"{port.name}.{inner.name} ({branch.choice})"
            yield name, _type(inner), _default(inner), _allowed(inner)


def _port_object(port: Port) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": port.type,
        "list": port.many,
        "required": port.is_required,
        "default": None if port.default is MISSING else thaw(port.default),
        "min": port.between.low if port.between else None,
        "max": port.between.high if port.between else None,
        "choices": list(port.options() or ()) or None,
        "tooltip": port.tooltip,
    }
    if port.growing is not None:
        described["names"] = list(port.growing.keys)
    if port.branches:
        described["branches"] = {
            branch.choice: {inner.name: _port_object(inner) for inner in branch.ports}
            for branch in port.branches
        }
    return described


def node_to_object(spec: NodeSpec) -> dict[str, Any]:
    """Return a node as an object."""
    return {
        "name": spec.name,
        "category": spec.category,
        "description": spec.doc,
        "output_node": spec.output_node,
        "inputs": {port.name: _port_object(port) for port in spec.inputs},
        "outputs": [
            {"name": output.name, "type": output.type, "list": output.many}
            for output in spec.outputs
        ],
    }


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns as wide as their longest cell; the last one is not padded."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        )
        for line in lines
    )


def _outputs(spec: NodeSpec) -> str:
    return ", ".join(
        output.name if output.name == _type(output) else f"{output.name} {_type(output)}"
        for output in spec.outputs
    )


def _type(end: Port | Output) -> str:
    if isinstance(end, Port) and end.growing is not None:
        first, second = (f"{end.name}.{end.growing.key(index)}" for index in (0, 1))
        return f"{end.type} for each of {first}, {second}, ..."
    return f"list of {end.type}" if end.many else end.type


def _default(port: Port) -> str:
    if port.is_required:
        return "required"
    return "optional" if port.default is None else str(port.default)


def _allowed(port: Port) -> str:
    options = port.options()
    if options is not None:
        return ", ".join(options)
    return str(port.between) if port.between else ""


def store_to_object(store: Store | None) -> dict[str, Any]:
    """Return the folder, entries, bytes and budget of the disk cache; no folder if it is off."""
    if store is None:
        return {"folder": None, "entries": 0, "bytes": 0, "budget": 0}
    contents = store.contents()
    return {
        "folder": str(store.folder),
        "entries": contents.entries,
        "bytes": contents.nbytes,
        "budget": store.budget,
    }


def format_store(store: Store | None) -> str:
    """Return the same as a line."""
    if store is None:
        return f"the disk cache is off ({VARIABLE}={OFF})"
    contents = store.contents()
    used, budget = contents.nbytes / GIB, store.budget / GIB
    return f"{store.folder}: {contents.entries} results, {used:.2f} of {budget:g} GiB"
