"""Lists of values: nodes downstream run once for each."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from latentloom.engine.node.ports import Growing, Matched
from latentloom.engine.node.spec import node

Item = Annotated[Any, Matched("type")]
Items = Annotated[dict[str, Item], Growing("input", high=10)]


class ListOfValues(NamedTuple):
    """Several values on one edge."""

    list: list[Item]


@node("CreateList", category="utilities")
def create_list(inputs: Items) -> ListOfValues:
    """Return several values as a list; the nodes that take it run once for each value.

    Args:
        inputs: values of one type, up to 10.
    """
    return ListOfValues(list(inputs.values()))
