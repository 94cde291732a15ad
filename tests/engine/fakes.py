"""Nodes for engine tests, which record their calls in a list."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.context import Context
from latentloom.engine.node.ports import Between, File, Formerly, Lazy, Socket
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node

calls: list[str] = []
gates: dict[str, threading.Event] = {}
lock = threading.Lock()

Tinted = Annotated[Any, Socket("TINT", family=True)]
Weight = Annotated[float, Between(0.0, 1.0, step=0.01)]


def note(call: str) -> None:
    with lock:
        calls.append(call)


@node("Number", category="test")
def number(value: int = 0) -> int:
    """Give a number."""
    note(f"Number {value}")
    return value


@node("Add", category="test")
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: the first,
            on two lines.
        b: the second.
    """
    note(f"Add {a} {b}")
    return a + b


@node("Scale", category="test")
def scale(a: int, times: Annotated[int, Between(1, 64), Formerly("amount")] = 1) -> int:
    """Multiply by a number, which was called `amount` once."""
    note(f"Scale {a} {times}")
    return a * times


@node("Parity", category="test")
def parity(a: int) -> int:
    """0 for even, 1 for odd: a node whose output often stays the same."""
    note(f"Parity {a}")
    return a % 2


class DivisionResult(NamedTuple):
    quotient: int
    remainder: int


@node("IsOdd", category="test")
def is_odd(value: int) -> bool:
    note(f"IsOdd {value}")
    return value % 2 == 1


@node("Halve", category="test", device=True)
def halve(a: int) -> DivisionResult:
    note(f"Halve {a}")
    return DivisionResult(a // 2, a % 2)


@node("Blend", category="test")
def blend(a: float, weight: Weight = 0.5, mode: Literal["mean", "max"] = "mean") -> float:
    note(f"Blend {a} {weight} {mode}")
    return a * weight


@node("Show", category="test", output=True)
def show(value: int, note_text: str = "") -> int:
    """Give out a number."""
    note(f"Show {value}{note_text}")
    return value


@node("Break", category="test")
def break_(a: int) -> int:
    raise RuntimeError(f"broken by {a}")


@node("Wait", category="test", device=True)
def wait(a: int, context: Context, gate: str = "gate", steps: int = 1) -> int:
    """Wait for a gate, `steps` times, reporting each."""
    for step in range(steps):
        note(f"Wait {a} step {step}")
        context.count_model_call()
        gates.setdefault(gate, threading.Event()).wait(10)
        context.progress(step + 1, steps, preview=("image", step))
    return a


@node("Read", category="test")
def read(path: Annotated[Path, File("input")]) -> str:
    note(f"Read {path.name}")
    return path.read_text()


@node("Paint", category="test")
class Paint:
    """Give a tint of a family."""

    @staticmethod
    def run(family: str = "red") -> Tinted:
        return family

    @staticmethod
    def family(family: str) -> str:
        return family


@node("Mix", category="test", output=True)
def mix(a: Tinted, b: Tinted, extra: Tinted | None = None) -> None:
    """Mix tints of one family."""


@node("Stain", category="test", output=True)
class Stain:
    """Change a tint by another, which must be of its family."""

    @staticmethod
    def run(a: Tinted, b: Tinted, family: str) -> Tinted:
        return family

    @staticmethod
    def family(family: str) -> str:
        return family


@node("Pick", category="test")
class Pick:
    """Give `a` or `b`; the other is never computed."""

    @staticmethod
    def run(
        first: bool,
        a: Annotated[int, Lazy()] | None = None,
        b: Annotated[int, Lazy()] | None = None,
    ) -> int:
        note(f"Pick {first}")
        value = a if first else b
        assert value is not None
        return value

    @staticmethod
    def needs(first: bool, a: int | None, b: int | None) -> list[str]:
        return ["a" if first else "b"]


REGISTRY = Registry.of(
    number, add, scale, parity, is_odd, halve, blend, show, break_, wait, read, Paint, mix, Stain,
    Pick,
)  # fmt: skip


def graph(**nodes: tuple[str, Mapping[str, Any]]) -> Graph:
    """Return a graph of `id=("Type", {inputs})`; strings like `$id.OUT` become links."""

    def value(text: Any) -> Any:
        if isinstance(text, str) and text.startswith("$"):
            origin, _, output = text[1:].partition(".")
            return Link(origin, int(output) if output.isdigit() else output)
        return text

    return Graph(
        {
            id: Node(type, {name: value(item) for name, item in inputs.items()})
            for id, (type, inputs) in nodes.items()
        }
    )


@contextmanager
def engine(**options: Any) -> Iterator[Engine]:
    with Engine(REGISTRY, **options) as made:
        yield made


def until(happened: Callable[[], bool]) -> None:
    """Wait for another thread; fails after ten seconds."""
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


PASSES = graph(
    start=("Number", {"value": 3}),
    pass1=("Add", {"a": "$start.INT", "b": 10}),
    pass2=("Add", {"a": "$pass1.INT", "b": 20}),
    show=("Show", {"value": "$pass2.INT"}),
)

FORK = graph(
    n=("Number", {"value": 2}),
    bad=("Break", {"a": "$n.INT"}),
    below=("Add", {"a": "$bad.INT"}),
    lost=("Show", {"value": "$below.INT"}),
    fine=("Show", {"value": "$n.INT"}),
)
