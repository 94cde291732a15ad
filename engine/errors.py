"""One tree of errors; every message names the node, the port, what it expected and what it got.

LatentloomError
  FormatError             a graph file cannot be read
  SpecError               a node is declared wrongly (raised at import)
  GraphError              a graph cannot run; holds every Problem
  UnexpectedValueError    a value cannot be used
    InputError            ... as an input of a node; raised by checks and by nodes
  NodeError               a node raised while it ran
  RunError                a run ended with failed nodes; holds the result
  RunCancelledError       the run was cancelled
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# The message of torch when main memory is exhausted.
_OUT_OF_MEMORY = re.compile(r"can't allocate memory: you tried to allocate ([0-9]{1,30}) bytes")
MAX_COMPARED, MAX_COMPARED_LENGTH = 300, 80
MAX_COMPARED_PAIRS = 10_000_000
"""Of characters, for all suggestions of one check; they take about a second."""
PAIRS_OF_A_PATH = 4
"""What looking at the last part of a path costs."""
_pairs_left: ContextVar[list[int] | None] = ContextVar("pairs_left", default=None)
MAX_LISTED = 20


class LatentloomError(Exception):
    """Base of every error that this project raises on purpose."""


class FormatError(LatentloomError):
    """A graph file that cannot be read: not YAML or JSON, too deep, or not a graph."""


class SpecError(LatentloomError):
    """A node is declared wrongly; the message says which function and what to write."""


class RunCancelledError(LatentloomError):
    """The run was cancelled; raised inside a node by `Context.check`."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error in a graph, found before anything runs.

    Attributes:
        kind: a stable word for programs, such as `unknown_node` or `out_of_range`.
        node, type: id and type of the node; empty if the error concerns the graph.
        port: the input; empty if the error concerns the node.
        expected, got: what the input takes and what it was given.
        source: the node that made the value, or the graph input that holds it.
        hint: what to do, if known.
    """

    kind: str
    node: str = ""
    type: str = ""
    port: str = ""
    expected: str
    got: str
    source: str = ""
    hint: str = ""

    @classmethod
    def unknown_node(
        cls,
        type_name: str,
        near: Sequence[str] = (),
        *,
        node: str = "",
        pack: str = "",
        remedy: str = "install the pack it comes from",
    ) -> Problem:
        """Return the problem of a node type that is not installed.

        Args:
            near: installed types with a similar name.
            pack: the pack that it comes from, if known.
            remedy: what to do if there are none.
        """
        return cls(
            kind="unknown_node",
            node=node,
            type=type_name,
            expected="a node that is installed",
            got=type_name,
            hint=_pack_hint(pack) or (f"did you mean {' or '.join(near)}?" if near else remedy),
        )

    @classmethod
    def unknown_id(cls, id: str, known: Collection[str]) -> Problem:
        """Return the problem of an id that no node of the graph has."""
        listed = ", ".join(list(known)[:MAX_LISTED]) or "none"
        return cls(
            kind="unknown_id",
            expected=f"a node of: {listed}",
            got=id or "''",
            hint=did_you_mean(id, known),
        )

    @classmethod
    def unknown_input(
        cls,
        name: str,
        known: Collection[str],
        *,
        node: str,
        type_name: str,
        current_name: str | None = None,
    ) -> Problem:
        """Return the problem of a value for an input that the node does not have.

        Args:
            current_name: the input's present name, if `name` is a former one.
        """
        return cls(
            kind="unknown_input",
            node=node,
            type=type_name,
            port=name,
            expected=f"one of its inputs ({', '.join(known) or 'none'})",
            got=repr(name),
            hint=f"it is now {current_name!r}" if current_name else did_you_mean(name, known),
        )

    @classmethod
    def unknown_graph_input(
        cls,
        name: str,
        known: Collection[str],
        *,
        node: str = "",
        type_name: str = "",
        port: str = "",
    ) -> Problem:
        """Return the problem of a reference to a graph input that is not declared."""
        return cls(
            kind="unknown_input",
            node=node,
            type=type_name,
            port=port,
            expected=f"an input of the graph ({', '.join(known) or 'none'})",
            got=f"${{{name}}}" if node else name,
            hint=did_you_mean(name, known),
        )

    @classmethod
    def missing_input(
        cls, port: str, expected: str, *, node: str, type_name: str, hint: str
    ) -> Problem:
        """Return the problem of a required input without a value."""
        return cls(
            kind="missing_input",
            node=node,
            type=type_name,
            port=port,
            expected=expected,
            got="nothing",
            hint=hint,
        )

    def __str__(self) -> str:
        subject = f"{self.type} ({self.node})" if self.node else "graph"
        if self.port:
            subject += f" .{self.port}"
        lines = [f"{subject}: expected {self.expected}, got {self.got}"]
        if self.source:
            lines.append(f"  made by: {self.source}")
        if self.hint:
            lines.append(f"  try:     {self.hint}")
        return "\n".join(lines)


class GraphError(LatentloomError):
    """A graph cannot run. `problems` holds all of its errors."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnexpectedValueError(LatentloomError):
    """A value cannot be used.

    Args:
        expected: what is accepted, in a few words.
        got: the value, as it is shown in the message.
        hint: what to do, if known.
    """

    def __init__(self, expected: str, got: object, hint: str = "") -> None:
        self.expected, self.got, self.hint = expected, str(got), hint
        text = f"expected {expected}, got {self.got}"
        super().__init__(f"{text}\n  try:     {hint}" if hint else text)


class InputError(UnexpectedValueError):
    """An input of a node does not accept its value; the engine adds the node's id and type.

    Args:
        port: the input.
        expected, got, hint: as in UnexpectedValueError.
    """

    def __init__(self, port: str, expected: str, got: object, hint: str = "") -> None:
        super().__init__(expected, got, hint)
        self.port = port

    def __str__(self) -> str:
        return f"{self.port}: {super().__str__()}"

    def problem(self, node: str, type_name: str) -> Problem:
        """Return the error as a problem of the node with this id and type."""
        return Problem(
            kind="bad_input",
            node=node,
            type=type_name,
            port=self.port,
            expected=self.expected,
            got=self.got,
            hint=self.hint,
        )


class NodeError(LatentloomError):
    """A node raised while it ran.

    Attributes:
        node, type: id and type of the node.
        inputs: its inputs in short form, for the message and for clients.
        reason: the message of the exception, which is the `__cause__`.
    """

    def __init__(self, node: str, type_name: str, inputs: Mapping[str, str], cause: BaseException):
        self.node, self.type, self.inputs = node, type_name, dict(inputs)
        self.reason = str(cause) if isinstance(cause, LatentloomError) else _describe(cause)
        shown = ", ".join(f"{name}={value}" for name, value in self.inputs.items())
        is_input = isinstance(cause, InputError)
        text = f"{type_name} ({node})" + (f" .{cause}" if is_input else f" failed: {self.reason}")
        super().__init__(f"{text}\n  inputs:  {shown}")


class RunError(LatentloomError):
    """A run ended with failed nodes; `result` holds the outputs of the others."""

    def __init__(self, errors: Sequence[LatentloomError], result: object) -> None:
        self.errors, self.result = tuple(errors), result
        super().__init__("\n".join(str(error) for error in self.errors))


def _pack_hint(pack: str) -> str:
    if pack == "comfy-core":
        return "it is a core node of ComfyUI, which latentloom does not have"
    return f"install the pack {pack}" if pack else ""


def did_you_mean(name: str, known: Collection[str], cutoff: float = 0.7) -> str:
    """Return a hint at the most similar name; empty if none is similar, or there are too many.

    A path with the same last part comes first, whatever its folder. Within `bounded_suggestions`
    there is no hint after MAX_COMPARED_PAIRS.

    >>> did_you_mean("denose", ["seed", "denoise"]), did_you_mean("zzz", ["seed"])
    ("did you mean 'denoise'?", '')
    """
    from difflib import get_close_matches

    if len(name) > MAX_COMPARED_LENGTH or not _may_compare(PAIRS_OF_A_PATH * len(known)):
        return ""
    same = [path for path in known if _last_part(path) == _last_part(name)]
    candidates = same or known
    pairs = len(name) * sum(map(len, candidates))
    if len(candidates) > MAX_COMPARED or not _may_compare(pairs):
        return ""
    close = get_close_matches(name, candidates, n=1, cutoff=0 if same else cutoff)
    return f"did you mean {close[0]!r}?" if close else ""


@contextmanager
def bounded_suggestions() -> Iterator[None]:
    """Bound the work of all suggestions within: a graph may have very many misspelt names."""
    token = None if _pairs_left.get() is not None else _pairs_left.set([MAX_COMPARED_PAIRS])
    try:
        yield
    finally:
        if token is not None:
            _pairs_left.reset(token)


def _may_compare(pairs: int) -> bool:
    """Return whether so many pairs of characters may be compared, and count them."""
    left = _pairs_left.get()
    if left is None:
        return True
    left[0] -= pairs
    return left[0] >= 0


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].lower()


def _describe(cause: BaseException) -> str:
    text = str(cause)
    shortage = _OUT_OF_MEMORY.search(text)
    if shortage is not None:
        gibibytes = int(shortage[1]) / 2**30
        return (
            f"not enough memory: tried to allocate {gibibytes:.3g} GiB; "
            "use a smaller image or batch"
        )
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
