"""Validation: every problem of a graph at once, and the records that planning needs.

`prepare` does both in one pass, linear in nodes and links: it converts each literal as its port
takes it, finds the files that are named, and resolves each link to an output's index. Nothing
here runs a node or loads a library that a node needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError, Problem, bounded_suggestions, did_you_mean
from ..node.ports import accepts
from ..node.registry import Registry
from ..node.spec import Port, Unavailable
from .families import FamilyCheck
from .graph import Graph, InputRef, Link, Node
from .inputs import INPUTS, input_problems
from .late import certainly_needed, stand_in, undeclared
from .literal import LiteralError, coerce, missing_hint
from .matched import MatchedTypes
from .prepared import Files, NamedFile, Preparation, Prepared, Source, parameter_names

MAX_CYCLE_SHOWN = 20


def check(graph: Graph, registry: Registry, files: Files) -> tuple[Problem, ...]:
    """Return every problem of the graph, also of nodes that no run needs.

    A node that is not installed and not needed is none: a run ignores it, and `lint` names it.
    """
    preparation = prepare(graph, registry, files, all_nodes=True)
    unneeded = {id for id, _ in preparation.unneeded}
    return tuple(
        problem
        for problem in preparation.problems
        if problem.kind != "unknown_node" or problem.node not in unneeded
    )


@bounded_suggestions()
def prepare(
    graph: Graph,
    registry: Registry,
    files: Files,
    targets: Iterable[str] | None = None,
    all_nodes: bool = False,
) -> Preparation:
    """Validate the targets and all that they depend on, and gather what planning needs.

    Args:
        targets: ids to run for; by default every output node.
        all_nodes: validate every node, also those that no target needs.
    """
    problems = input_problems(graph)
    written, graph = graph, graph.bound()
    chosen, target_problems = _choose_targets(graph, registry, targets)
    problems += target_problems
    cycle = graph.cycle() if graph.nodes else None
    if cycle is not None:
        problems.append(_cycle_problem(graph, cycle))
    needed = graph.upstream(chosen) if chosen else graph.nodes.keys()
    ids = graph.nodes.keys() if all_nodes else needed
    order = graph.nodes if cycle else (id for layer in graph.generations for id in layer)
    certain = certainly_needed(graph, registry, chosen) if chosen else needed
    late = frozenset(needed) - certain
    reader = _NodeReader(graph, written, registry, files, problems, late)
    nodes = {
        id: prepared for id in order if id in ids and (prepared := reader.read(id)) is not None
    }
    return Preparation(
        nodes=nodes,
        targets=chosen,
        problems=tuple(problems),
        lacking={id: tuple(lacks) for id, lacks in reader.lacking.items()},
        unneeded=tuple((id, node.type) for id, node in graph.nodes.items() if id not in needed),
    )


def _choose_targets(
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
    problem = Problem(
        kind="no_output",
        expected="an output node",
        got="none",
        hint="add a SaveImage or PreviewImage, or name the nodes to run as targets",
    )
    return (), [problem]


def _cycle_problem(graph: Graph, cycle: list[str]) -> Problem:
    first, more = cycle[0], len(cycle) - MAX_CYCLE_SHOWN
    shown = cycle if more <= 0 else [*cycle[:MAX_CYCLE_SHOWN], f"({more} more nodes)"]
    return Problem(
        kind="cycle",
        node=first,
        type=graph.nodes[first].type,
        expected="a graph without cycles",
        got=" -> ".join([*shown, first]),
    )


class _NodeReader:
    """Prepares node after node, in topological order, and records problems."""

    def __init__(
        self,
        graph: Graph,
        written: Graph,
        registry: Registry,
        files: Files,
        problems: list[Problem],
        late: frozenset[str],
    ) -> None:
        self.graph, self.registry, self.files, self.problems = graph, registry, files, problems
        self.late = late
        self.lacking: dict[str, list[Problem]] = {}
        self.names: dict[str, Sequence[str]] = {}
        self.written = written
        self.reported = {(problem.port, "") for problem in problems if problem.node == INPUTS}
        self.has_wrong_value: set[str] = set()
        self.families = FamilyCheck(problems)
        self.unavailable: dict[str, Mapping[str, Unavailable]] = {}
        self.matched = MatchedTypes()
        self.forwarded: dict[tuple[str, str], Link] = {}

    def read(self, id: str) -> Prepared | None:
        """Return the prepared node; None if its type is unknown."""
        node = self.graph.nodes[id]
        spec = self.registry.get(node.type)
        if spec is None:
            # The name in a file of ComfyUI is exact: a similar one is another node.
            near = () if self.graph.document is not None else self.registry.near(node.type)
            problem = Problem.unknown_node(node.type, near, node=id, pack=node.pack)
            if id in self.late:
                self.lacking[id] = [problem]
                return stand_in(id, node.type, [problem], undeclared(id, node.type))
            self.problems.append(problem)
            return None
        spec = spec.fitted(node.inputs)
        count = len(self.problems)
        prepared = Prepared(id, spec)
        for port in spec.inputs:
            if port.name in node.inputs:
                self._read_input(prepared, port, node.inputs[port.name])
            elif port.is_required:
                self._report_missing(prepared, port)
            else:
                prepared.literals[port.name] = port.default
        self._report_unknown(prepared, node)
        if len(self.problems) == count and id not in self.has_wrong_value:
            self._call_methods(prepared)
        self.families.visit(prepared)
        if id in self.lacking:
            return stand_in(id, spec.name, self.lacking[id], prepared)
        return prepared

    def _report_missing(self, node: Prepared, port: Port) -> None:
        self.problems.append(
            Problem.missing_input(
                port.name,
                _expected(port),
                node=node.id,
                type_name=node.spec.name,
                hint=missing_hint(port),
            )
        )

    def _report_unknown(self, prepared: Prepared, node: Node) -> None:
        spec = prepared.spec
        names = [port.name for port in spec.inputs]
        self.problems += [
            Problem.unknown_input(
                name,
                names,
                node=prepared.id,
                type_name=spec.name,
                current_name=spec.current_name(name),
            )
            for name in node.inputs.keys() - set(names)
        ]

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
        except LiteralError as error:
            self._report_literal(node, port, error)
            return
        node.literals[port.name] = literal
        if port.file is not None and literal is not None:
            self._find_file(node, port, literal)

    def _report_literal(self, node: Prepared, port: Port, error: LiteralError) -> None:
        """Report a wrong value; one that a graph input gives to several nodes only once."""
        self.has_wrong_value.add(node.id)
        source, value = "", self.written.nodes[node.id].inputs[port.name]
        if isinstance(value, InputRef):
            if self.reported & {(value.name, ""), (value.name, error.expected)}:
                return
            self.reported.add((value.name, error.expected))
            source = f"the graph's input {value.name}"
        problem = error.problem(node.id, node.spec.name, port.name, source)
        if node.id in self.late and error.kind in ("file", "not_in_list") and port.file is not None:
            self.lacking.setdefault(node.id, []).append(problem)
            node.literals[port.name] = self.graph.nodes[node.id].inputs[port.name]
        else:
            self.problems.append(problem)

    def _find_file(self, node: Prepared, port: Port, name: str) -> None:
        file = port.file
        assert file is not None
        try:
            path = file.resolve(name) if file.resolve else self.files.resolve(file.kind, name)
        except (LookupError, ValueError, OSError) as error:
            reason = str(error.args[0]) if error.args else str(error)
            if isinstance(error, FileNotFoundError) and file.resolve is None:
                reason += self._suggest_file(file.kind, name)
            problem = LiteralError("file", f"a file ({file.kind})", repr(name), reason)
            self._report_literal(node, port, problem)
            return
        node.files[port.name] = NamedFile(name, path, file.digest)
        node.literals[port.name] = path

    def _suggest_file(self, kind: str, name: str) -> str:
        """Return the end of a message that names a similar file; empty if there is none."""
        if kind not in self.names:
            self.names[kind] = self.files.names(kind)
        hint = did_you_mean(name, self.names[kind])
        return f"; {hint}" if hint else ""

    def _read_link(self, node: Prepared, port: Port, link: Link) -> None:
        origin = self.graph.nodes.get(link.node)
        if origin is None:
            hint, got = did_you_mean(link.node, self.graph.nodes), f"{link}: no such node"
            self._report(node, port, "dangling_link", _expected(port), got, hint=hint)
            return
        if port.branches:
            hint = "write the choice into the graph: it decides which inputs the node has"
            self._report(node, port, "linked_choice", "a choice", f"the link {link}", hint=hint)
            return
        if port.file is not None:
            hint = "name the file in the graph, or make it an input of the graph: ${name}"
            got = f"the link {link}"
            self._report(node, port, "linked_file", "a file name", got, hint=hint)
            return
        spec = self.registry.get(origin.type)
        if spec is None:
            if link.node in self.late:  # what stands in for it has no outputs
                node.links[port.name] = Source(link.node, 0)
            return
        index = spec.output_index(link.output)
        if index is not None and spec.outputs[index].forwards:
            forwarded = self.forwarded.get((link.node, spec.outputs[index].forwards))
            if forwarded is not None:  # else the node that forwards has a problem
                self._read_link(node, port, forwarded)
            return
        self.forwarded[node.id, port.name] = link
        if index is None:
            names = [output.name for output in spec.outputs]
            expected = f"an output of {origin.type} ({', '.join(names) or 'no outputs'})"
            hint, got = did_you_mean(str(link.output), names), f"{link}: no such output"
            self._report(node, port, "dangling_link", expected, got, hint=hint)
            return
        output, source = spec.outputs[index], f"{origin.type} ({link.node})"
        given = self.matched.type_of(link.node, output)
        expected = self.matched.expected(node, port) or _expected(port)
        if not accepts(port.type, given) or not self.matched.add(node, port, given):
            self._report(node, port, "wrong_type", expected, given, source=source)
            return
        absence = self.unavailable.get(link.node, {}).get(output.name)
        if absence is not None:
            got, hint = f"nothing: {absence.reason}", absence.remedy
            self._report(node, port, "absent", _expected(port), got, source=source, hint=hint)
            return
        node.links[port.name] = Source(link.node, index)

    def _call_methods(self, node: Prepared) -> None:
        """Call the node's own methods: check of its inputs, family, absent outputs, files."""
        spec = node.spec
        try:
            if spec.check is not None:
                known = node.known_arguments(spec.check)
                if known is not None:
                    spec.check(**known)
            if spec.family is not None:
                known = node.known_arguments(spec.family)
                node.family = spec.family(**known) if known is not None else None
            if spec.unavailable is not None:
                known = node.known_arguments(spec.unavailable)
                self.unavailable[node.id] = {} if known is None else spec.unavailable(**known)
            if spec.reads is not None:
                names = parameter_names(spec.reads)
                paths = spec.reads(**{name: node.literals.get(name) for name in names})
                node.files |= {name: NamedFile(name, path) for name, path in paths.items()}
        except InputError as error:
            self.problems.append(error.problem(node.id, spec.name))

    def _report(
        self,
        node: Prepared,
        port: Port,
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
                port=port.name,
                expected=expected,
                got=got,
                source=source,
                hint=hint,
            )
        )


def _expected(port: Port) -> str:
    if port.is_edge:
        return port.type
    within = f" from {port.between}" if port.between else ""
    return f"{port.type}{within}"
