"""Muted and bypassed nodes reach native files, and the editor's again."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from latentloom.engine.formats import dump_graph, name_outputs, parse_graph, readable
from latentloom.engine.graph.graph import Link
from latentloom.engine.node.registry import Registry

REGISTRY = Registry.from_package("latentloom.nodes")
MUTED, BYPASSED = 2, 4


def chain(mode: int) -> dict[str, Any]:
    """An image that is scaled by a node of this mode, inverted and saved."""

    def socket(name: str, link: int) -> dict[str, Any]:
        return {"name": name, "type": "IMAGE", "link": link}

    def output(link: int) -> list[dict[str, Any]]:
        return [{"name": "IMAGE", "type": "IMAGE", "links": [link]}]

    return {
        "last_node_id": 4, "last_link_id": 3, "version": 0.4,
        "nodes": [
            {"id": 1, "type": "LoadImage", "outputs": output(1), "widgets_values": ["a.png"]},
            {"id": 2, "type": "ImageScaleBy", "mode": mode, "title": "larger",
             "inputs": [socket("image", 1)], "outputs": output(2),
             "widgets_values": ["area", 2.5]},
            {"id": 3, "type": "ImageInvert", "inputs": [socket("image", 2)], "outputs": output(3)},
            {"id": 4, "type": "SaveImage", "inputs": [socket("images", 3)],
             "widgets_values": ["x"]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    }  # fmt: skip


def written(mode: int, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chain through YAML and changes to it; its nodes by type, and the file."""
    graph = readable(name_outputs(parse_graph(json.dumps(chain(mode)), REGISTRY), REGISTRY))
    graph = parse_graph(dump_graph(graph, "yaml", REGISTRY), REGISTRY)
    for path, value in changes.items():
        graph = graph.set(path.replace("__", "."), value)
    file = json.loads(dump_graph(graph, "editor", REGISTRY))
    return {node["type"]: node for node in file["nodes"]}, file


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_a_muted_or_bypassed_node_stays_what_it_is(mode: int) -> None:
    nodes, file = written(mode)
    scale = nodes["ImageScaleBy"]
    assert (scale["mode"], scale["title"], scale["widgets_values"]) == (
        mode, "larger", ["area", 2.5],
    )  # fmt: skip
    ends = {(link[1], link[3]) for link in file["links"]}
    ids = [nodes[type]["id"] for type in ("LoadImage", "ImageScaleBy", "ImageInvert", "SaveImage")]
    assert ends == set(pairwise(ids))
    for node in nodes.values():
        node["mode"] = 0
    enabled = parse_graph(json.dumps(file), REGISTRY)
    assert enabled.nodes[str(ids[2])].inputs["image"] == Link(str(scale["id"]), 0)


def test_a_changed_graph_wins_over_the_nodes_that_no_longer_fit() -> None:
    changes = {"image_invert__image": Link("image", "MASK")}
    nodes, file = written(BYPASSED, **changes)
    assert "ImageScaleBy" not in nodes
    assert sorted(link[2] for link in file["links"]) == [0, 1]


@pytest.mark.parametrize(
    ("node", "key", "value"),
    [(1, "inputs", []), (1, "inputs", [{"name": "other", "link": 1}]), (2, "inputs", 5),
     (0, "outputs", []), (1, "outputs", None), (1, "id", "x y")],
)  # fmt: skip
def test_a_left_out_node_that_is_damaged_stops_nothing(node: int, key: str, value: Any) -> None:
    data = chain(BYPASSED)
    data["nodes"][node][key] = value
    graph = parse_graph(json.dumps(data), REGISTRY)
    again = parse_graph(dump_graph(graph, "yaml", REGISTRY), REGISTRY)
    file = json.loads(dump_graph(again, "editor", REGISTRY))
    assert len(parse_graph(json.dumps(file), REGISTRY).nodes) == len(graph.nodes)
