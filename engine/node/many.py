"""Several values on one edge.

An output that is declared as `list[X]` gives a Many. A node that gets one on an input declared as
`X` is called once for each value, and all that it gives is a Many in turn; an input declared as
`list[X]` takes the values at once. With several of them the shorter ones stay at their last value;
with none in one of them there is no call. Source: ComfyUI's lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from .context import Saved
from .spec import NodeSpec


class Many(tuple[Any, ...]):
    """The values that go over one edge, in their order."""

    __slots__ = ()


def spread(arguments: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The arguments of each call; None where no argument is a Many.

    >>> spread({"x": Many((1, 2)), "y": 5})
    [{'x': 1, 'y': 5}, {'x': 2, 'y': 5}]
    >>> spread({"x": Many((1, 2, 3)), "y": Many((4, 5))})[2]
    {'x': 3, 'y': 5}
    """
    lengths = [len(value) for value in arguments.values() if value.__class__ is Many]
    if not lengths:
        return None
    return [
        {name: _at(value, turn) for name, value in arguments.items()}
        for turn in range(max(lengths) if all(lengths) else 0)
    ]


def listed(spec: NodeSpec, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What one call gave, the outputs that are lists as a Many."""
    pairs = zip(spec.outputs, values, strict=True)
    return _like(values, [Many(value) if output.many else value for output, value in pairs])


def gather(spec: NodeSpec, calls: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The outputs of a node, from what each of its calls gave; files and texts in one Saved."""
    if not spec.outputs:
        saved = [value for (value,) in calls if isinstance(value, Saved)]
        if not saved:
            return (None,)
        paths = tuple(path for each in saved for path in each.paths)
        return (Saved(paths, "\n".join(each.text for each in saved if each.text)),)
    if not calls:
        return (Many(),) * len(spec.outputs)
    columns = zip(spec.outputs, zip(*calls, strict=True), strict=True)
    joined = [
        Many(chain.from_iterable(values) if output.many else values) for output, values in columns
    ]
    return _like(calls[0], joined)


def _at(value: Any, turn: int) -> Any:
    return value[min(turn, len(value) - 1)] if value.__class__ is Many else value


def _like(values: tuple[Any, ...], outputs: list[Any]) -> tuple[Any, ...]:
    """Outputs in the NamedTuple that a node returned, where it returned one."""
    make = getattr(values, "_make", tuple)
    made: tuple[Any, ...] = make(outputs)
    return made
