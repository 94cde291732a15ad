"""Values as nodes, so that several inputs can share one; and a note for the reader."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.node.ports import Between, Seeded
from latentloom.engine.node.spec import node

from .ports import Prompt

AnyInt = Annotated[int, Between(-(2**63 - 1), 2**63 - 1), Seeded()]
AnyFloat = Annotated[float, Between(-(2**63 - 1), 2**63 - 1)]


@node("PrimitiveInt", category="utils/primitive")
def primitive_int(value: AnyInt) -> int:
    """A whole number.

    Args:
        value: the number.
    """
    return value


@node("PrimitiveFloat", category="utils/primitive")
def primitive_float(value: AnyFloat) -> float:
    """A number.

    Args:
        value: the number.
    """
    return value


@node("PrimitiveString", category="utils/primitive")
def primitive_string(value: str) -> str:
    """A text.

    Args:
        value: the text.
    """
    return value


@node("PrimitiveBoolean", category="utils/primitive")
def primitive_boolean(value: bool) -> bool:
    """Yes or no.

    Args:
        value: true or false.
    """
    return value


@node("Note", category="utils")
def note(text: Prompt = "") -> None:
    """A note for whoever reads the graph; it does nothing.

    Args:
        text: the note.
    """
