"""A layered layout: columns in topological order, few crossings, nodes near their neighbours."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from .graph import Graph, Link

SWEEPS = 12
GAP_X, GAP_Y, LANE_HEIGHT = 90, 28, 2


class Size(NamedTuple):
    """Width and height of a node, in px."""

    width: float
    height: float


class Point(NamedTuple):
    """The upper left corner of a node, in px."""

    x: float
    y: float


class Layout(NamedTuple):
    """Positions of nodes, and the middle of each column that links of an output pass, in order."""

    corners: dict[str, Point]
    routes: dict[Link, dict[int, Point]]
    columns: dict[str, int]


def layered_layout(graph: Graph, sizes: Mapping[str, Size]) -> Layout:
    """Return a layout in which no two nodes overlap, and long links have lanes between nodes.

    All links of one output share a lane.

    Raises:
        networkx.NetworkXUnfeasible: there is a cycle.
    """
    columns = _columns(graph)
    number = {id: index for index, column in enumerate(columns) for id in column}
    lanes = _lanes(graph, number)
    sizes = {
        **sizes,
        **{lane: Size(0, LANE_HEIGHT) for held in lanes.values() for lane in held.values()},
    }
    for held in lanes.values():
        for index, lane in held.items():
            columns[index].append(lane)
    neighbours = _neighbours(graph, number, lanes)
    for sweep in range(SWEEPS):
        _sort_columns(columns, neighbours, forward=sweep % 2 == 0)
    tops = _tops(columns, neighbours, sizes)
    corners: dict[str, Point] = {}
    x = 0.0
    for column in columns:
        for id in column:
            corners[id] = Point(x, tops[id])
        x += max((sizes[id].width for id in column), default=0) + GAP_X
    routes = {
        link: {
            i: Point(corners[lane].x, corners[lane].y + LANE_HEIGHT / 2) for i, lane in held.items()
        }
        for link, held in lanes.items()
    }
    return Layout(corners, routes, number)


def _lanes(graph: Graph, number: Mapping[str, int]) -> dict[Link, dict[int, str]]:
    """Return for each output the columns that its links pass, with an id for the lane in each."""
    last: dict[Link, int] = {}
    for id, node in graph.nodes.items():
        for _, link in node.links():
            if link.node in number:
                last[link] = max(last.get(link, 0), number[id] - 1)
    return {
        link: {index: f"{link}\0{index}" for index in range(number[link.node] + 1, end + 1)}
        for link, end in last.items()
    }


def _columns(graph: Graph) -> list[list[str]]:
    """Return the nodes by column: as far to the right as what they feed allows."""
    generations = [list(layer) for layer in graph.generations]
    last = len(generations) - 1
    column: dict[str, int] = {}
    for index in range(last, -1, -1):
        for id in generations[index]:
            users = [column[user] for user in graph.network.successors(id)]
            column[id] = min(users) - 1 if users else index
    columns: list[list[str]] = [[] for _ in generations]
    for layer in generations:
        for id in layer:
            columns[column[id]].append(id)
    return columns


def _neighbours(
    graph: Graph, number: Mapping[str, int], lanes: Mapping[Link, Mapping[int, str]]
) -> dict[str, list[str]]:
    """Return nodes and lanes with those that they are linked to in the columns beside."""
    ends = [
        (lanes[link].get(number[id] - 1, link.node), id)
        for id, node in graph.nodes.items()
        for _, link in node.links()
        if link in lanes
    ]
    for link, held in lanes.items():
        ends += itertools.pairwise([link.node, *held.values()])
    neighbours: dict[str, list[str]] = defaultdict(list)
    for origin, target in ends:
        neighbours[origin].append(target)
        neighbours[target].append(origin)
    return neighbours


def _sort_columns(
    columns: list[list[str]], neighbours: Mapping[str, list[str]], forward: bool
) -> None:
    """Sort each column by the mean position of the neighbours in columns already passed."""
    share = {id: (i + 0.5) / len(column) for column in columns for i, id in enumerate(column)}
    number = {id: index for index, column in enumerate(columns) for id in column}
    for column in columns if forward else reversed(columns):
        means = {}
        for id in column:
            others = (o for o in neighbours.get(id, ()) if (number[o] < number[id]) == forward)
            passed = [share[other] for other in others]
            means[id] = sum(passed) / len(passed) if passed else share[id]
        column.sort(key=means.__getitem__)
        share.update({id: (i + 0.5) / len(column) for i, id in enumerate(column)})


def _tops(
    columns: list[list[str]], neighbours: Mapping[str, list[str]], sizes: Mapping[str, Size]
) -> dict[str, float]:
    """Return the upper edge of each node: stacked, then moved towards the neighbours' middle."""
    tops: dict[str, float] = {}
    for column in columns:
        y = 0.0
        for id in column:
            tops[id] = y
            y += sizes[id].height + GAP_Y
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            _align(column, neighbours, sizes, tops)
    lowest = min(tops.values(), default=0)
    return {id: top - lowest for id, top in tops.items()}


def _align(
    column: list[str],
    neighbours: Mapping[str, list[str]],
    sizes: Mapping[str, Size],
    tops: dict[str, float],
) -> None:
    """Move the nodes of a column towards their neighbours, as blocks that do not overlap."""
    blocks: list[tuple[list[str], float, float]] = []  # nodes, wanted top of the block, height
    for id in column:
        others = neighbours.get(id, ())
        wanted = tops[id]
        if others:
            middle = sum(tops[other] + sizes[other].height / 2 for other in others) / len(others)
            wanted = middle - sizes[id].height / 2
        block = ([id], wanted, sizes[id].height + GAP_Y)
        while blocks and blocks[-1][1] + blocks[-1][2] > block[1]:
            ids, top, height = blocks.pop()
            count, more = len(ids), len(block[0])
            top = (top * count + (block[1] - height) * more) / (count + more)
            block = ([*ids, *block[0]], top, height + block[2])
        blocks.append(block)
    for ids, top, _ in blocks:
        for id in ids:
            tops[id] = top
            top += sizes[id].height + GAP_Y
