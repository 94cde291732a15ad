"""Numbers that nodes measure, as columns `node.output`; and expressions that rank items by them."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import FormatError, did_you_mean
from ..graph.graph import Graph
from ..node.registry import Registry
from ..node.spec import NodeSpec
from .executor import Result

NUMBERS = ("FLOAT", "INT")
MAX_CHARS = 500
OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
SYNTAX = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.Load, *OPERATORS)
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}
# A column: in quotes, or an id and a name without other characters.
COLUMN = re.compile(r"\"([^\"]*)\"|'([^']*)'|(?<![\w.])(\w+\.[^\W\d]\w*)")


def targets_with_scores(graph: Graph, registry: Registry) -> tuple[str, ...] | None:
    """Return the output nodes of a graph and those that measure; None if it has no such node."""
    targets = [
        id
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None and (spec.output_node or spec.score)
    ]
    return tuple(targets) or None


def read_scores(graph: Graph, registry: Registry, result: Result) -> dict[str, float]:
    """Return the finite numbers of the nodes that measure, by `node.output`.

    Of another value they are those of its mapping `scores`, by `node.name`.
    """
    scores: dict[str, Any] = {}
    for id, spec in _measuring(graph, registry):
        value = result[id]
        values = (value,) if spec.has_bare_result else value
        for output, item in zip(spec.outputs, values, strict=True):
            named = {output.name: item} if output.type in NUMBERS else item.scores
            scores |= {f"{id}.{name}": number for name, number in named.items()}
    return {
        name: float(number)
        for name, number in scores.items()
        if isinstance(number, int | float) and math.isfinite(number)
    }


class Ranking:
    """An expression over scores, such as `edges.f1 - 0.01 * change.delta_e`; higher is better.

    It has numbers, scores, + - * /, parentheses, abs, min and max. A score whose node has other
    characters in its name is in quotes.

    Raises:
        FormatError: it has another form.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_CHARS:
            raise FormatError(f"--best: expected at most {MAX_CHARS} characters, got {len(text)}")
        self._columns: list[str] = []
        numbered = COLUMN.sub(self._number, text)
        try:
            self._tree = ast.parse(numbered.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            expected = "an expression such as edges.f1 - 0.01 * change.delta_e"
            raise FormatError(f"--best: expected {expected}, got {text[:60]!r}") from error
        if not all(isinstance(node, SYNTAX) for node in ast.walk(self._tree)):
            raise self._refusal()
        self._evaluate(dict.fromkeys(self._columns, 1.0))

    def _number(self, match: re.Match[str]) -> str:
        """Note a column of the expression, and return the name that stands for it."""
        self._columns.append(next(name for name in match.groups() if name is not None))
        return f"s{len(self._columns) - 1}"

    def check(self, graph: Graph, registry: Registry) -> None:
        """Check that a graph measures what the expression names.

        Raises:
            FormatError: it does not.
        """
        known = [
            f"{id}.{output.name if output.type in NUMBERS else ''}"
            for id, spec in _measuring(graph, registry)
            for output in spec.outputs
        ]
        for column in self._columns:
            if column in known or f"{column.rpartition('.')[0]}." in known:
                continue
            names = ", ".join(f"{name}*" if name.endswith(".") else name for name in known)
            hint = did_you_mean(column, known)
            raise FormatError(
                f"--best: expected a score of: {names or 'none, add ImageDifference'}; "
                f"got {column}{f'; {hint}' if hint else ''}"
            )

    def value(self, scores: Mapping[str, float]) -> float | None:
        """Return the value for an item; None if a score is missing or it is not finite."""
        if any(column not in scores for column in self._columns):
            return None
        return self._evaluate(scores)

    def _evaluate(self, scores: Mapping[str, float]) -> float | None:
        from simpleeval import InvalidExpression, SimpleEval

        names = {f"s{index}": scores[column] for index, column in enumerate(self._columns)}
        evaluator = SimpleEval(dict(OPERATORS), dict(FUNCTIONS), names)
        try:
            value = float(evaluator.eval(self.text, self._tree))
        except (ZeroDivisionError, OverflowError):
            return None
        except (InvalidExpression, RecursionError, TypeError, ValueError, KeyError) as error:
            raise self._refusal() from error
        return value if math.isfinite(value) else None

    def _refusal(self) -> FormatError:
        expected = "numbers, scores, + - * /, abs, min and max"
        return FormatError(f"--best: expected {expected}, got {self.text[:60]!r}")


def _measuring(graph: Graph, registry: Registry) -> list[tuple[str, NodeSpec]]:
    """Return the nodes that measure, with their specs."""
    specs = ((id, registry.get(node.type)) for id, node in graph.nodes.items())
    return [(id, spec) for id, spec in specs if spec is not None and spec.score]
