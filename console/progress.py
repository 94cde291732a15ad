"""Progress of a run: bars on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from latentloom.engine.execution.events import (
    AnyEvent,
    Failed,
    Finished,
    NodeEvent,
    Progress,
    Reused,
    Started,
    Stopped,
)
from latentloom.engine.graph.graph import Graph

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Reporter(Protocol):
    """A consumer of events that is opened and closed around a run."""

    def __call__(self, event: AnyEvent, /) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def reporter(quiet: bool, graph: Graph | None = None) -> Reporter:
    """The reporter that suits where stderr goes.

    Args:
        graph: what is run; its nodes are shown with their types where their names are numbers,
            as in ComfyUI's files.
    """
    if quiet:
        return Quiet()
    nodes = graph.nodes.items() if graph is not None else ()
    names = {id: f"{node.type} ({id})" for id, node in nodes if id.replace(":", "").isdigit()}
    return BarReporter(names) if sys.stderr.isatty() else LineReporter(names)


class Quiet:
    """Says nothing."""

    def __call__(self, _event: AnyEvent) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LineReporter(Quiet):
    """A line for each node that is done and each tenth of its steps, on stderr."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def __call__(self, _event: AnyEvent) -> None:
        line = _line(_event, self.names) or _tenth(_event, self.names)
        if line:
            print(line, file=sys.stderr, flush=True)


class BarReporter:
    """A bar for each node that is running, and a line for each that is done."""

    def __init__(self, names: Mapping[str, str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.bars: Bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.names = names
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            self.tasks[event.node] = self.bars.add_task(
                self.names.get(event.node, f"{event.node} ({event.type})"), total=1
            )
        elif isinstance(event, Progress):
            self.bars.update(self.tasks[event.node], completed=event.step, total=event.total)
        elif isinstance(event, NodeEvent):
            if event.node in self.tasks and isinstance(event, Finished | Failed | Stopped):
                self.bars.remove_task(self.tasks.pop(event.node))
            line = _line(event, self.names)
            if line:
                self.bars.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(event: AnyEvent, names: Mapping[str, str]) -> str:
    name = names.get(event.node, event.node) if isinstance(event, NodeEvent) else ""
    if isinstance(event, Finished):
        text = "".join(f"\n  {line}" for line in event.text.splitlines())
        return f"{name}: ran in {event.seconds:.2f} s{text}"
    if isinstance(event, Reused):
        return f"{name}: reused from {event.tier}"
    if isinstance(event, Stopped):
        return f"{name}: cancelled"
    return ""


def _tenth(event: AnyEvent, names: Mapping[str, str]) -> str:
    """A line at every tenth of a node's steps."""
    if not isinstance(event, Progress) or event.total < 1:
        return ""
    if event.step * 10 // event.total == (event.step - 1) * 10 // event.total:
        return ""
    return f"{names.get(event.node, event.node)}: step {event.step} of {event.total}"
