"""Every problem of a graph at once, and what running it needs to know of each node.

`prepare` does both in one pass, linear in nodes and links: it reads each literal as its port
takes it, finds the files that are named, and resolves each link to an output's index. Nothing
here runs a node or loads a library that a node needs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import GraphError, InputError, Problem, did_you_mean
from ..node.ports import accepts
from ..node.registry import Registry
from ..node.spec import NodeSpec, Port, Unavailable
from .graph import Graph, InputRef, Link, Node
from .inputs import INPUTS, input_problems
from .literal import LiteralError, coerce, missing_hint


class Files(Protocol):
    """What finds the files that a graph names; see `engine.files.workspace`."""

    def resolve(self, kind: str, name: str) -> Path: ...


class Source(NamedTuple):
    """Where a linked input comes from."""

    node: str
    output: int


class NamedFile(NamedTuple):
    """A file that an input names; `digest` is what its port has for one."""

    name: str
    path: Path
    digest: Callable[[Path], str] | None = None


@dataclass(slots=True)
class Prepared:
    """A node that is ready to be planned: its spec and its inputs, each known to fit its port."""

    id: str
    spec: NodeSpec
    literals: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Source] = field(default_factory=dict)
    files: dict[str, NamedFile] = field(default_factory=dict)
    family: str | None = None


@dataclass(frozen=True)
class Preparation:
    """The outcome of `prepare`.

    Attributes:
        nodes: what the targets depend on, in topological order.
        unneeded: (id, type) of the other nodes, which may be of types that are not installed.
    """

    nodes: Mapping[str, Prepared]
    targets: tuple[str, ...]
    problems: tuple[Problem, ...]
    unneeded: tuple[tuple[str, str], ...] = ()

    def checked(self) -> Preparation:
        """Itself.

        Raises:
            GraphError: there are problems.
        """
        if self.problems:
            raise GraphError(self.problems)
        return self


def check(graph: Graph, registry: Registry, files: Files) -> tuple[Problem, ...]:
    """Every problem of the whole graph, whether a run would meet it or not."""
    return prepare(graph, registry, files, whole=True).problems


def prepare(
    graph: Graph,
    registry: Registry,
    files: Files,
    targets: Iterable[str] | None = None,
    whole: bool = False,
) -> Preparation:
    """Validate what the targets depend on, and gather what planning needs.

    Args:
        targets: ids to run for; by default every output node.
        whole: validate every node, also those that no target needs.
    """
    problems = input_problems(graph)
    written, graph = graph, graph.bound()
    chosen, target_problems = _targets(graph, registry, targets)
    problems += target_problems
    cycle = graph.cycle() if graph.nodes else None
    if cycle is not None:
        problems.append(_cycle_problem(graph, cycle))
    expected = graph.nodes.keys() if whole or not chosen else graph.upstream(chosen)
    order = graph.nodes if cycle else (id for layer in graph.generations for id in layer)
    reader = _Reader(graph, written, registry, files, problems)
    nodes = {id: found for id in order if id in expected and (found := reader.read(id)) is not None}
    unneeded = tuple((id, node.type) for id, node in graph.nodes.items() if id not in expected)
    return Preparation(nodes, chosen, tuple(problems), unneeded)


def _targets(
    graph: Graph, registry: Registry, targets: Iterable[str] | None
) -> tuple[tuple[str, ...], list[Problem]]:
    if targets is not None:
        chosen = (targets,) if isinstance(targets, str) else tuple(dict.fromkeys(targets))
        problems = [Problem.unknown_id(id, graph.nodes) for id in chosen if id not in graph.nodes]
        return tuple(id for id in chosen if id in graph.nodes), problems
    chosen = tuple(
        id
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None and spec.output_node
    )
    ends = (id for id in graph.nodes if not graph.network.succ[id])
    if chosen or any(graph.nodes[id].type not in registry for id in ends):
        return chosen, []
    hint = "add a SaveImage or PreviewImage, or name the nodes to run as targets"
    return (), [
        Problem(
            kind="no_output", expected="an output node, such as SaveImage", got="none", hint=hint
        )
    ]


def _cycle_problem(graph: Graph, cycle: list[str]) -> Problem:
    first = cycle[0]
    return Problem(
        kind="cycle",
        node=first,
        type=graph.nodes[first].type,
        expected="a graph without cycles",
        got=" -> ".join([*cycle, first]),
    )


class _Reader:
    """Reads node after node, in topological order, and notes what is wrong."""

    def __init__(
        self,
        graph: Graph,
        written: Graph,
        registry: Registry,
        files: Files,
        problems: list[Problem],
    ) -> None:
        self.graph, self.registry, self.files, self.problems = graph, registry, files, problems
        self.written = written
        self.told = {(problem.port, "") for problem in problems if problem.node == INPUTS}
        self.families: dict[str, tuple[str | None, str]] = {}
        self.lacking: dict[str, Mapping[str, Unavailable]] = {}

    def read(self, id: str) -> Prepared | None:
        """The prepared node; None if its type is unknown."""
        node = self.graph.nodes[id]
        spec = self.registry.get(node.type)
        if spec is None:
            self.problems.append(self._unknown_type(id, node))
            return None
        before = len(self.problems)
        prepared = Prepared(id, spec)
        for port in spec.inputs:
            if port.name in node.inputs:
                self._read_input(prepared, port, node.inputs[port.name])
            elif port.is_required:
                self.problems.append(
                    Problem.missing_input(
                        port.name,
                        _expected(port),
                        node=id,
                        type_name=spec.name,
                        hint=missing_hint(port),
                    )
                )
            else:
                prepared.literals[port.name] = port.default
        names = [port.name for port in spec.inputs]
        self.problems += [
            Problem.unknown_input(name, names, node=id, type_name=spec.name)
            for name in node.inputs.keys() - set(names)
        ]
        if len(self.problems) == before:
            self._run_hooks(prepared)
        if spec.family is not None or any(port.family for port in spec.inputs):
            self._join_families(prepared)
        return prepared

    def _read_input(self, node: Prepared, port: Port, value: Any) -> None:
        if isinstance(value, Link):
            self._read_link(node, port, value)
            return
        if isinstance(value, InputRef):
            self.problems.append(
                Problem.unknown_graph_input(
                    value.name,
                    self.graph.inputs,
                    node=node.id,
                    type_name=node.spec.name,
                    port=port.name,
                )
            )
            return
        try:
            literal = coerce(port, value)
        except LiteralError as refused:
            self._refuse(node, port, refused)
            return
        node.literals[port.name] = literal
        if port.file is not None and literal is not None:
            self._find_file(node, port, literal)

    def _refuse(self, node: Prepared, port: Port, refused: LiteralError) -> None:
        """Tell of a wrong value; of one that an input of the graph gives to several nodes, once."""
        source, value = "", self.written.nodes[node.id].inputs[port.name]
        if isinstance(value, InputRef):
            if self.told & {(value.name, ""), (value.name, refused.expected)}:
                return
            self.told.add((value.name, refused.expected))
            source = f"the graph's input {value.name}"
        self.problems.append(refused.problem(node.id, node.spec.name, port.name, source))

    def _find_file(self, node: Prepared, port: Port, name: str) -> None:
        file = port.file
        assert file is not None
        try:
            path = file.resolve(name) if file.resolve else self.files.resolve(file.kind, name)
        except (LookupError, ValueError, OSError) as error:
            reason = str(error.args[0]) if error.args else str(error)
            self._refuse(
                node, port, LiteralError("file", f"a file ({file.kind})", repr(name), reason)
            )
            return
        node.files[port.name] = NamedFile(name, path, file.digest)
        node.literals[port.name] = path

    def _read_link(self, node: Prepared, port: Port, link: Link) -> None:
        origin = self.graph.nodes.get(link.node)
        if origin is None:
            hint, got = did_you_mean(link.node, self.graph.nodes), f"{link}: no such node"
            self._add(node, port.name, "dangling_link", _expected(port), got, hint=hint)
            return
        if port.file is not None:
            hint = "name the file in the graph, or make it an input of the graph: ${name}"
            self._add(node, port.name, "linked_file", "a file name", f"the link {link}", hint=hint)
            return
        spec = self.registry.get(origin.type)
        if spec is None:
            return
        index = spec.output_index(link.output)
        if index is None:
            names = [found.name for found in spec.outputs]
            expected = f"an output of {origin.type} ({', '.join(names) or 'no outputs'})"
            hint, got = did_you_mean(str(link.output), names), f"{link}: no such output"
            self._add(node, port.name, "dangling_link", expected, got, hint=hint)
            return
        given = spec.outputs[index].type
        if not accepts(port.type, given):
            source = f"{origin.type} ({link.node})"
            self._add(node, port.name, "wrong_type", _expected(port), given, source=source)
            return
        lack = self.lacking.get(link.node, {}).get(spec.outputs[index].name)
        if lack is not None:
            source, got = f"{origin.type} ({link.node})", f"nothing: {lack.reason}"
            expected = _expected(port)
            self._add(node, port.name, "absent", expected, got, source=source, hint=lack.remedy)
            return
        node.links[port.name] = Source(link.node, index)

    def _run_hooks(self, node: Prepared) -> None:
        """Ask the node itself: are its known inputs usable, and what do its outputs hold."""
        try:
            if node.spec.check is not None:
                known = _known_arguments(node.spec.check, node)
                if known is not None:
                    node.spec.check(**known)
            if node.spec.family is not None:
                known = _known_arguments(node.spec.family, node)
                node.family = node.spec.family(**known) if known is not None else None
            if node.spec.unavailable is not None:
                known = _known_arguments(node.spec.unavailable, node)
                self.lacking[node.id] = {} if known is None else node.spec.unavailable(**known)
            if node.spec.reads is not None:
                given = {name: node.literals.get(name) for name in _parameters(node.spec.reads)}
                for name, path in node.spec.reads(**given).items():
                    node.files[name] = NamedFile(name, path)
        except InputError as error:
            self.problems.append(error.problem(node.id, node.spec.name))

    def _join_families(self, node: Prepared) -> None:
        """The inputs of a node must all be of one family, which is that of its outputs too.

        Inputs whose values several families share tell less of the node's family and come last.
        """
        ports = sorted(node.spec.inputs, key=lambda port: port.compatible is not None)
        given = [
            (port, *self.families.get(node.links[port.name].node, (None, "")))
            for port in ports
            if port.family and port.name in node.links
        ]
        found = [(port, family, maker) for port, family, maker in given if family is not None]
        maker, origin = f"{node.spec.name} ({node.id})", "its own"
        if node.family is not None and found and self._misfit(node, found):
            node.family = None
        for port, family, made_by in found:
            if node.family is None:
                node.family, maker, origin = family, made_by, f"as {port.name} from {made_by}"
            elif not _are_kin(port, family, node.family):
                expected = f"family {node.family} ({origin})"
                self._add(
                    node, port.name, "wrong_family", expected, f"family {family}", source=made_by
                )
        if any(output.family for output in node.spec.outputs):
            self.families[node.id] = (node.family, maker)

    def _misfit(self, node: Prepared, given: Sequence[tuple[Port, str, str]]) -> bool:
        """Whether no input is of the family that a node's own file has; then that is told.

        It is one mistake, so that what is below goes by the inputs.
        """
        if any(_are_kin(port, family, node.family or "") for port, family, _ in given):
            return False
        assert node.spec.family is not None
        name = _parameters(node.spec.family)[0]
        port, family, made_by = given[0]
        value = node.files[name].name if name in node.files else node.literals[name]
        expected = f"family {family} (as {port.name} from {made_by})"
        self._add(node, name, "wrong_family", expected, f"{value!r}, of family {node.family}")
        return True

    def _unknown_type(self, id: str, node: Node) -> Problem:
        return Problem.unknown_node(node.type, self.registry.near(node.type), node=id)

    def _add(
        self,
        node: Prepared,
        port: str,
        kind: str,
        expected: str,
        got: str,
        source: str = "",
        hint: str = "",
    ) -> None:
        self.problems.append(
            Problem(
                kind=kind,
                node=node.id,
                type=node.spec.name,
                port=port,
                expected=expected,
                got=got,
                source=source,
                hint=hint,
            )
        )


def _are_kin(port: Port, given: str, expected: str) -> bool:
    """Whether values of one family at this port are as good as those of another."""
    return given == expected or (
        port.compatible is not None and port.compatible(given) == port.compatible(expected)
    )


def _expected(port: Port) -> str:
    if port.is_edge:
        return port.type
    within = f" from {port.between}" if port.between else ""
    return f"{port.type}{within}"


def _known_arguments(hook: Callable[..., Any], node: Prepared) -> dict[str, Any] | None:
    """The arguments of a hook, None if one of them is not known before the run."""
    names = _parameters(hook)
    if any(name not in node.literals for name in names):
        return None
    return {name: node.literals[name] for name in names}


@cache
def _parameters(hook: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(hook).parameters)
