"""Nodes of a valid graph, ready to be planned: the records that `validate.prepare` makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import GraphError, Problem
from ..node.spec import NodeSpec


class Files(Protocol):
    """Finds the files that a graph names; see `engine.files.workspace`."""

    def resolve(self, kind: str, name: str) -> Path: ...

    def names(self, kind: str) -> Sequence[str]: ...


class Source(NamedTuple):
    """The output that a linked input comes from."""

    node: str
    output: int


class NamedFile(NamedTuple):
    """A file that an input names, with the digest function of its port."""

    name: str
    path: Path
    digest: Callable[[Path], str] | None = None


@dataclass(slots=True)
class Prepared:
    """A node that can be planned: its spec, and inputs that fit their ports."""

    id: str
    spec: NodeSpec
    literals: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Source] = field(default_factory=dict)
    files: dict[str, NamedFile] = field(default_factory=dict)
    family: str | None = None

    @property
    def title(self) -> str:
        """The node in messages: its type and id."""
        return f"{self.spec.name} ({self.id})"

    def known_arguments(self, method: Callable[..., Any]) -> dict[str, Any] | None:
        """Return the arguments of a spec's method, None if one is not known before the run."""
        names, values = parameter_names(method), self.spec.nested(self.literals)
        linked = {name.partition(".")[0] for name in self.links}
        if any(name not in values or name in linked for name in names):
            return None
        return {name: values[name] for name in names}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The outcome of `prepare`.

    Attributes:
        nodes: the targets and all that they depend on, in topological order.
        lacking: what nodes lack that only a lazy input may ask for; a stand-in is in `nodes`.
        unneeded: (id, type) of the other nodes, which may be of types that are not installed.
    """

    nodes: Mapping[str, Prepared]
    targets: tuple[str, ...]
    problems: tuple[Problem, ...]
    unneeded: tuple[tuple[str, str], ...] = ()
    lacking: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    def checked(self) -> Preparation:
        """Return itself.

        Raises:
            GraphError: there are problems.
        """
        if self.problems:
            raise GraphError(self.problems)
        return self


@cache
def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return tuple(inspect.signature(function).parameters)
