"""The engine's overhead per node: no-op graphs as a chain, a fan and a ladder of diamonds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.clock import Measurement, median_time, time_call
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node

SIZES = (100, 1_000, 10_000)
FIRST_AIM_US, CACHED_AIM_US = 150.0, 50.0


@node("Start", category="bench")
def start(value: int = 0) -> int:
    return value


@node("Add", category="bench")
def add(a: int, b: int = 1) -> int:
    return a + b


@node("Out", category="bench", output=True)
def out(a: int, b: int = 0) -> int:
    return a + b


def chain(size: int) -> Graph:
    """Return a graph in which each node feeds the next."""
    nodes = {"n0": Node("Start")}
    for index in range(1, size - 1):
        nodes[f"n{index}"] = Node("Add", {"a": Link(f"n{index - 1}", "INT")})
    return Graph({**nodes, "out": Node("Out", {"a": Link(f"n{size - 2}", "INT")})})


def fan(size: int) -> Graph:
    """Return a graph in which one node feeds all others."""
    outs = {
        f"n{index}": Node("Out", {"a": Link("n0", "INT"), "b": index}) for index in range(1, size)
    }
    return Graph({"n0": Node("Start"), **outs})


def ladder(size: int) -> Graph:
    """Return a graph of two nodes a rung, one of which joins both of the rung above."""
    nodes = {"l0": Node("Start"), "r0": Node("Start", {"value": 1})}
    last = size // 2 - 1
    for rung in range(1, last + 1):
        left, right = Link(f"l{rung - 1}", "INT"), Link(f"r{rung - 1}", "INT")
        nodes[f"l{rung}"] = Node("Add", {"a": left, "b": right})
        nodes[f"r{rung}"] = Node("Add", {"a": right, "b": rung})
    ends = {"a": Link(f"l{last}", "INT"), "b": Link(f"r{last}", "INT")}
    return Graph({**nodes, "out": Node("Out", ends)})


SHAPES: dict[str, Callable[[int], Graph]] = {"chain": chain, "fan": fan, "ladder": ladder}


def engine_rows() -> Iterator[Measurement]:
    """Measure plan, first run and cached rerun in microseconds a node."""
    for shape, make in SHAPES.items():
        for size in SIZES:
            plans, firsts, cached = [], [], []
            for _ in range(5):
                graph = make(size)
                with Engine(Registry.of(start, add, out)) as engine:
                    plans.append(time_call(lambda: engine.plan(graph)))  # noqa: B023
                    firsts.append(time_call(lambda: engine.run(graph)))  # noqa: B023
                    # The same graph read again: the engine has cached nothing of its structure.
                    again = make(size)
                    cached.append(time_call(lambda: engine.run(again)))  # noqa: B023
            for name, times, aim in (
                ("plan", plans, None),
                ("first run", firsts, FIRST_AIM_US),
                ("cached rerun", cached, CACHED_AIM_US),
            ):
                per_node = statistics.median(times) / size * 1e6
                yield Measurement(f"{shape} of {size}: {name}", per_node, "µs a node", aim)


def startup_rows() -> Iterator[Measurement]:
    """Measure importing the API and running commands, in fresh processes."""
    for name, arguments in (
        ("python -c pass (floor)", ["-c", "pass"]),
        ("import latentloom", ["-c", "import latentloom"]),
        ("latentloom --help", ["-m", "cli", "--help"]),
        ("latentloom nodes", ["-m", "cli", "nodes"]),
        ("latentloom plan img2img", ["-m", "cli", "plan", "img2img"]),
    ):
        median_s = median_time(lambda: _run_python(arguments))  # noqa: B023
        yield Measurement(name, median_s * 1e3, "ms")


def _run_python(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
