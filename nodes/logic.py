"""Nodes that choose between values, and truth values of any value."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from latentloom.engine.node.ports import Growing, Lazy, Matched
from latentloom.engine.node.spec import node

from .ports import AnyValue

LazySwitched = Annotated[Any, Matched("switch"), Lazy()]
AnyValues = Annotated[dict[str, AnyValue], Growing("value", high=10)]


class Switched(NamedTuple):
    """The value that a switch chose."""

    output: Annotated[Any, Matched("switch")]


@node("ComfySwitchNode", category="utilities/logic")
class SwitchValue:
    """Return one of two values; the nodes that make the other one do not run.

    Args:
        switch: true returns `on_true`.
        on_false, on_true: values of any one type.
    """

    @staticmethod
    def run(switch: bool, on_false: LazySwitched, on_true: LazySwitched) -> Switched:
        return Switched(on_true if switch else on_false)

    @staticmethod
    def needs(switch: bool, **_: Any) -> list[str]:
        return ["on_true" if switch else "on_false"]


@node("ComfyAndNode", category="utilities/logic")
def all_true(values: AnyValues) -> bool:
    """Return whether all values are true; 0, an empty string and nothing are false.

    Args:
        values: up to 10 values of any type.
    """
    return all(_is_true(value) for value in values.values())


@node("ComfyOrNode", category="utilities/logic")
def any_true(values: AnyValues) -> bool:
    """Return whether one of the values is true; 0, an empty string and nothing are false.

    Args:
        values: up to 10 values of any type.
    """
    return any(_is_true(value) for value in values.values())


@node("ComfyNotNode", category="utilities/logic")
def invert_truth(value: AnyValue) -> bool:
    """Return whether a value is false: 0, an empty string or nothing.

    Args:
        value: of any type.
    """
    return not _is_true(value)


def _is_true(value: Any) -> bool:
    """Return the truth value of plain data; tensors and other objects are true."""
    is_plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    return bool(value) if is_plain else True
