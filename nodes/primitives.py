"""Values as nodes, so that several inputs can share one, and a note."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.node.ports import Between, Seeded
from latentloom.engine.node.spec import node

from .ports import Prompt

AnyInt = Annotated[int, Between(-(2**63 - 1), 2**63 - 1), Seeded()]
AnyFloat = Annotated[float, Between(-(2**63 - 1), 2**63 - 1)]


@node("PrimitiveInt", category="utilities/primitive")
def primitive_int(value: AnyInt) -> int:
    """Return an integer, to use for several inputs.

    Args:
        value: the integer.
    """
    return value


@node("PrimitiveFloat", category="utilities/primitive")
def primitive_float(value: AnyFloat) -> float:
    """Return a number, to use for several inputs.

    Args:
        value: the number.
    """
    return value


@node("PrimitiveString", category="utilities/primitive")
def primitive_string(value: str) -> str:
    """Return a string, to use for several inputs.

    Args:
        value: the string.
    """
    return value


@node("PrimitiveBoolean", category="utilities/primitive")
def primitive_boolean(value: bool) -> bool:
    """Return a boolean, to use for several inputs.

    Args:
        value: true or false.
    """
    return value


@node("Note", category="utils")
def note(text: Prompt = "") -> None:
    """Show a note to readers of the graph; it has no effect on the run.

    Args:
        text: the note.
    """
