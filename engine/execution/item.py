"""One item of a batch or a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..files.workspace import Workspace
from ..graph.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item to run.

    Attributes:
        index: its position among the items, counted without gaps.
        name: for people who read the progress file.
        last_use: gives for the id of a node the last item that can use its outputs.
    """

    index: int
    name: str
    graph: Graph
    workspace: Workspace
    last_use: Callable[[str], int]
