"""Several values on one edge.

An output declared as `list[X]` gives a Many. A node that receives one on an input declared as `X`
is called once for each value, and its outputs are Manys in turn; an input declared as `list[X]`
takes all values at once. If lengths differ, the shorter ones repeat their last value; if one is
empty, the node is not called. Source: ComfyUI's lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from .context import Saved
from .spec import NodeSpec


class Many(tuple[Any, ...]):
    """The values on one edge, in order."""

    __slots__ = ()


def spread(arguments: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the arguments of each call; None if no argument is a Many.

    >>> spread({"x": Many((1, 2)), "y": 5})
    [{'x': 1, 'y': 5}, {'x': 2, 'y': 5}]
    >>> spread({"x": Many((1, 2, 3)), "y": Many((4, 5))})[2]
    {'x': 3, 'y': 5}
    """
    lengths = [len(value) for value in arguments.values() if value.__class__ is Many]
    if not lengths:
        return None
    return [
        {name: _at(value, index) for name, value in arguments.items()}
        for index in range(max(lengths) if all(lengths) else 0)
    ]


def wrap_lists(spec: NodeSpec, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the outputs of one call, with those declared as lists as Manys."""
    pairs = zip(spec.outputs, values, strict=True)
    return _like(values, [Many(value) if output.many else value for output, value in pairs])


def gather(spec: NodeSpec, calls: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Join the outputs of a node's calls; saved files and text become one Saved."""
    if not spec.gives_value:
        saved = [value for (value,) in calls if isinstance(value, Saved)]
        if not saved:
            return (None,)
        paths = tuple(path for part in saved for path in part.paths)
        return (Saved(paths, "\n".join(part.text for part in saved if part.text)),)
    if not calls:
        return (Many(),) * len(spec.outputs)
    columns = zip(spec.outputs, zip(*calls, strict=True), strict=True)
    joined = [
        Many(chain.from_iterable(values) if output.many else values) for output, values in columns
    ]
    return _like(calls[0], joined)


def _at(value: Any, index: int) -> Any:
    return value[min(index, len(value) - 1)] if value.__class__ is Many else value


def _like(values: tuple[Any, ...], outputs: list[Any]) -> tuple[Any, ...]:
    """Return the outputs as the NamedTuple that the node returned, if it returned one."""
    make = getattr(values, "_make", tuple)
    result: tuple[Any, ...] = make(outputs)
    return result
