"""One tree of errors; every message names the node, the port, what was wanted and what came.

LatentloomError
  FormatError     a graph file that cannot be read
  SpecError       a node declared wrongly (found at import)
  GraphError      a graph that cannot run; carries every Problem at once
  UnexpectedValueError  a value that cannot be used
    InputError      ... of a node's input; raised by checks and by nodes
  NodeError       a node raised while running
  RunError        a run ended with failed nodes; carries the result
  Cancelled       the run was cancelled
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# What torch says where the machine's own memory is too small.
_TOO_MUCH = re.compile(r"can't allocate memory: you tried to allocate ([0-9]{1,30}) bytes")
MAX_COMPARED, MAX_COMPARED_LENGTH = 300, 80


class LatentloomError(Exception):
    """Root of every error that this project raises on purpose."""


class FormatError(LatentloomError):
    """A graph file that cannot be read: not YAML or JSON, too deep, or not a graph."""


class SpecError(LatentloomError):
    """A node is declared wrongly; the message says which function and what to write."""


class RunCancelledError(LatentloomError):
    """The run was cancelled; raised inside a node by `Context.check`."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a graph.

    Attributes:
        kind: a stable word for machines, such as `unknown_node` or `out_of_range`.
        node, type: id and type of the node; empty where the whole graph is meant.
        port: the input, empty where the whole node is meant.
        expected, got: what the port wants and what it was given.
        source: where the value came from, if not from the node itself.
        hint: what to do, where that is known.
    """

    kind: str
    node: str
    type: str
    port: str
    expected: str
    got: str
    source: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.type} ({self.node})" if self.node else "graph"
        if self.port:
            place += f" .{self.port}"
        lines = [f"{place}: expected {self.expected}, got {self.got}"]
        if self.source:
            lines.append(f"  made by: {self.source}")
        if self.hint:
            lines.append(f"  try:     {self.hint}")
        return "\n".join(lines)


class GraphError(LatentloomError):
    """A graph that cannot run. `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnexpectedValueError(LatentloomError):
    """A value that cannot be used.

    Args:
        expected: what can be, in a few words.
        got: what came; shown as text.
        hint: what to do about it, if known.
    """

    def __init__(self, expected: str, got: object, hint: str = "") -> None:
        self.expected, self.got, self.hint = expected, str(got), hint
        text = f"expected {expected}, got {self.got}"
        super().__init__(f"{text}\n  try:     {hint}" if hint else text)


class InputError(UnexpectedValueError):
    """A value that an input of a node cannot take; the engine adds the node's id and type.

    Args:
        port: the input that is wrong.
        expected, got, hint: as for every unexpected value.
    """

    def __init__(self, port: str, expected: str, got: object, hint: str = "") -> None:
        super().__init__(expected, got, hint)
        self.port = port

    def __str__(self) -> str:
        return f"{self.port}: {super().__str__()}"

    def problem(self, node: str, type_name: str) -> Problem:
        """The same as a Problem of the node with this id."""
        return Problem(
            "bad_input", node, type_name, self.port, self.expected, self.got, "", self.hint
        )


class NodeError(LatentloomError):
    """A node raised while it ran.

    Attributes:
        node, type: id and type of the node.
        inputs: its inputs in short form, for the message and for clients.
        reason: what it raised, as text; `__cause__` is the exception itself.
    """

    def __init__(self, node: str, type_name: str, inputs: Mapping[str, str], cause: BaseException):
        self.node, self.type, self.inputs = node, type_name, dict(inputs)
        self.reason = str(cause) if isinstance(cause, LatentloomError) else _name(cause)
        shown = ", ".join(f"{name}={value}" for name, value in self.inputs.items())
        is_input = isinstance(cause, InputError)
        text = f"{type_name} ({node})" + (f" .{cause}" if is_input else f" failed: {self.reason}")
        super().__init__(f"{text}\n  inputs:  {shown}")


class RunError(LatentloomError):
    """A run ended with failed nodes; `result` holds what was made all the same."""

    def __init__(self, errors: Sequence[LatentloomError], result: object) -> None:
        self.errors, self.result = tuple(errors), result
        super().__init__("\n".join(str(error) for error in self.errors))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A hint at the known name that is nearest; empty if none is near, or there are too many.

    >>> did_you_mean("denose", ["seed", "denoise"]), did_you_mean("zzz", ["seed"])
    ("did you mean 'denoise'?", '')
    """
    from difflib import get_close_matches

    few = len(known) <= MAX_COMPARED and len(name) <= MAX_COMPARED_LENGTH
    close = get_close_matches(name, known, n=1, cutoff=0.7) if few else []
    return f"did you mean {close[0]!r}?" if close else ""


def _name(cause: BaseException) -> str:
    text = str(cause)
    lack = _TOO_MUCH.search(text)
    if lack is not None:
        size = int(lack[1]) / 2**30
        return (
            f"the memory does not suffice for {size:.3g} GiB at once; take a smaller size or batch"
        )
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
