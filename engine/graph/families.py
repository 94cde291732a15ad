"""Model families on edges: all inputs of a node must belong to one, which its outputs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import Problem
from ..node.spec import Port
from .prepared import Prepared, parameter_names


class FamilyInput(NamedTuple):
    """A linked input: the family of its value, and the node that the family comes from."""

    port: Port
    family: str
    maker: str


class _Origin(NamedTuple):
    """The family of a node, the node that it comes from, and True if it is that of shared values.

    Values such as latents are shared by several families, so that the family is one of these.
    """

    family: str | None
    maker: str
    is_shared: bool


_UNKNOWN = _Origin(None, "", is_shared=False)


class FamilyCheck:
    """Follows families through a graph, node by node in topological order."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._families: dict[str, _Origin] = {}

    def visit(self, node: Prepared) -> None:
        """Set the family of a node, and report inputs of another one.

        Inputs whose values several families share say less about the node's family; they come last.
        """
        if any(output.matched for output in node.spec.outputs):
            self._pass_on(node)
        if node.spec.family is None and not any(port.family for port in node.spec.inputs):
            return
        inputs = self._inputs(node)
        maker, origin = node.title, "its own"
        if node.family is not None and inputs and self._report_misfit(node, inputs):
            node.family = None
        is_shared = node.spec.family is not None and all(
            output.is_shared for output in node.spec.outputs if output.family
        )
        for port, family, made_by in inputs:
            if node.family is None:
                node.family, maker, origin = family, made_by, f"as {port.name} from {made_by}"
                is_shared = port.compatible is not None
            elif not _is_compatible(port, family, node.family):
                expected = f"family {node.family} ({origin})"
                self._report(node, port.name, expected, f"family {family}", made_by)
        if any(output.family for output in node.spec.outputs):
            self._families[node.id] = _Origin(node.family, maker, is_shared)

    def _pass_on(self, node: Prepared) -> None:
        """Set the family of a node whose output is one of its inputs, if theirs is one."""
        matched = {port.name for port in node.spec.inputs if port.matched}
        origins = [source.node for name, source in node.links.items() if name in matched]
        families = [self._families.get(origin, _UNKNOWN) for origin in origins]
        if families and len({origin.family for origin in families}) == 1:
            self._families[node.id] = families[0]

    def _inputs(self, node: Prepared) -> list[FamilyInput]:
        ports = sorted(node.spec.inputs, key=lambda port: port.compatible is not None)
        inputs = []
        for port in ports:
            if port.family and port.name in node.links:
                origin = self._families.get(node.links[port.name].node, _UNKNOWN)
                # A family that others share values with says nothing about values of its own.
                is_own = port.compatible is None
                if origin.family is not None and not (is_own and origin.is_shared):
                    inputs.append(FamilyInput(port, origin.family, origin.maker))
        return inputs

    def _report_misfit(self, node: Prepared, inputs: Sequence[FamilyInput]) -> bool:
        """Report a node's own file if no input fits its family; return whether that is so.

        It is one mistake, so that nodes downstream are checked against the inputs.
        """
        if any(_is_compatible(port, family, node.family or "") for port, family, _ in inputs):
            return False
        assert node.spec.family is not None
        name = parameter_names(node.spec.family)[0]
        port, family, made_by = inputs[0]
        value = node.files[name].name if name in node.files else node.literals[name]
        expected = f"family {family} (as {port.name} from {made_by})"
        self._report(node, name, expected, f"{value!r}, of family {node.family}")
        return True

    def _report(self, node: Prepared, port: str, expected: str, got: str, source: str = "") -> None:
        self._problems.append(
            Problem(
                kind="wrong_family",
                node=node.id,
                type=node.spec.name,
                port=port,
                expected=expected,
                got=got,
                source=source,
            )
        )


def _is_compatible(port: Port, given: str, expected: str) -> bool:
    """Return whether values of a family are usable at this port in place of another's."""
    return given == expected or (port.compatible is not None and port.compatible(given, expected))
