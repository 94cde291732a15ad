"""Progress of a run: bars on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, Self

from engine.events import AnyEvent, Event, Failed, Finished, Progress, Reused, Started, Stopped

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Reporter(Protocol):
    """A consumer of events that is opened and closed around a run."""

    def __call__(self, event: AnyEvent, /) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def reporter(quiet: bool) -> Reporter:
    """The reporter that suits where stderr goes."""
    if quiet:
        return Quiet()
    return BarReporter() if sys.stderr.isatty() else LineReporter()


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

    def __call__(self, _event: AnyEvent) -> None:
        line = _line(_event) or _tenth(_event)
        if line:
            print(line, file=sys.stderr, flush=True)


class BarReporter:
    """A bar for each node that is running, and a line for each that is done."""

    def __init__(self) -> None:
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
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            self.tasks[event.node] = self.bars.add_task(f"{event.node} ({event.type})", total=1)
        elif isinstance(event, Progress):
            self.bars.update(self.tasks[event.node], completed=event.step, total=event.total)
        elif isinstance(event, Event):
            if event.node in self.tasks and isinstance(event, Finished | Failed | Stopped):
                self.bars.remove_task(self.tasks.pop(event.node))
            line = _line(event)
            if line:
                self.bars.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(event: AnyEvent) -> str:
    if isinstance(event, Finished):
        saved = "".join(f"\n  saved {path}" for path in event.saved)
        text = "".join(f"\n  {line}" for line in event.text.splitlines())
        return f"{event.node}: ran in {event.seconds:.2f} s{saved}{text}"
    if isinstance(event, Reused):
        return f"{event.node}: reused from {event.tier}"
    if isinstance(event, Stopped):
        return f"{event.node}: cancelled"
    return ""


def _tenth(event: AnyEvent) -> str:
    """A line at every tenth of a node's steps."""
    if not isinstance(event, Progress) or event.total < 1:
        return ""
    if event.step * 10 // event.total == (event.step - 1) * 10 // event.total:
        return ""
    return f"{event.node}: step {event.step} of {event.total}"
