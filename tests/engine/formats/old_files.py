"""Files as older editors wrote them: img2img with its encoders and its sampler inside a node."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from latentloom.engine.formats import load_graph
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.graph.library import find_graph
from latentloom.engine.node.registry import Registry

FIRST, SECOND, SAMPLER = 3, 4, 6
TAKEN = (FIRST, SECOND, SAMPLER)
OUTSIDE, INSTANCE = {1, 2, 5, 8, 9}, 20
"""The ids of the links into and out of the instance, and of the instance."""
SAMPLING = [77, "fixed", 20, 4.5, "dpmpp_2m", "karras", 0.6]
DEFINITION = "6f1b2f0c-93b4-4a4c-8c7e-0d4f2f8e9a11"
AROUND = "0c0ffee0-93b4-4a4c-8c7e-0d4f2f8e9a22"


def plain(registry: Registry) -> dict[str, Any]:
    """Return img2img as an editor file."""
    return write_workflow(load_graph(find_graph("img2img") or Path(), registry).bound(), registry)


def _outer(flow: dict[str, Any], instance: dict[str, Any]) -> dict[str, Any]:
    """Return the file with an instance instead of the nodes that it replaces."""
    file = copy.deepcopy(flow)
    file["nodes"] = [node for node in file["nodes"] if node["id"] not in TAKEN] + [instance]
    ports = {1: 0, 2: 1, 5: 2, 8: 3}
    for link in file["links"]:
        if link[0] in ports:
            link[3:5] = [INSTANCE, ports[link[0]]]
        elif link[0] == 9:
            link[1:3] = [INSTANCE, 0]
    file["links"] = [link for link in file["links"] if link[0] not in (6, 7)]
    return file


def grouped(flow: dict[str, Any]) -> dict[str, Any]:
    """Return the file with a group node, whose values differ from those of the nodes inside."""
    nodes = []
    for index, id in enumerate(TAKEN):
        node = copy.deepcopy(next(node for node in flow["nodes"] if node["id"] == id))
        del node["id"]
        node["index"] = index
        node["widgets_values"] = (
            [1, "fixed", 2, 3.0, "euler", "normal", 0.1] if index == 2 else [""]
        )
        for socket in node["inputs"]:
            socket["link"] = None
        nodes.append(node)
    group = {
        "nodes": nodes,
        "links": [[0, 0, 2, 1, FIRST, "CONDITIONING"], [1, 0, 2, 2, SECOND, "CONDITIONING"]],
        "external": [],
    }
    instance = _instance("workflow>pass", ["clip", "CLIPTextEncode clip", "model", "latent_image"])
    instance["widgets_values"] = ["a red boat", "fog", *SAMPLING]
    return {**_outer(flow, instance), "extra": {"groupNodes": {"pass": group}}}


def proxied(flow: dict[str, Any]) -> dict[str, Any]:
    """Return the file with a subgraph that shows widgets of its nodes by proxies."""
    nodes = [copy.deepcopy(node) for node in flow["nodes"] if node["id"] in TAKEN]
    names = ["clip", "clip_1", "model", "latent_image"]
    types = ["CLIP", "CLIP", "MODEL", "LATENT"]
    links = [
        _link(1, -10, 0, FIRST, 0, "CLIP"), _link(2, -10, 1, SECOND, 0, "CLIP"),
        _link(5, -10, 2, SAMPLER, 0, "MODEL"), _link(8, -10, 3, SAMPLER, 3, "LATENT"),
        _link(6, FIRST, 0, SAMPLER, 1, "CONDITIONING"),
        _link(7, SECOND, 0, SAMPLER, 2, "CONDITIONING"),
        _link(9, SAMPLER, 0, -20, 0, "LATENT"),
    ]  # fmt: skip
    definition = _definition(DEFINITION, nodes, links, list(zip(names, types, strict=True)))
    instance = _instance(DEFINITION, names)
    proxies = [[str(FIRST), "text"], [str(SAMPLER), "seed"], [str(SAMPLER), "denoise"]]
    proxies += [[str(SAMPLER), "$$canvas-image-preview"], [str(SECOND), "text"]]
    instance["properties"]["proxyWidgets"] = proxies
    instance["widgets_values"] = ["a red boat", 77, 0.25]
    return {**_outer(flow, instance), "definitions": {"subgraphs": [definition]}}


def proxied_twice(flow: dict[str, Any], proxy: list[str], value: Any) -> dict[str, Any]:
    """Return the `proxied` file inside one more subgraph, which shows a widget of its own."""
    file = proxied(flow)
    instance = next(node for node in file["nodes"] if node["id"] == INSTANCE)
    inner = {**copy.deepcopy(instance), "id": 30}
    sockets = [(socket["name"], socket["type"]) for socket in instance["inputs"]]
    links = [
        _link(link, -10, slot, 30, slot, sockets[slot][1]) for slot, link in enumerate((1, 2, 5, 8))
    ]
    links.append(_link(9, 30, 0, -20, 0, "LATENT"))
    file["definitions"]["subgraphs"].append(_definition(AROUND, [inner], links, sockets))
    instance["type"] = AROUND
    instance["properties"]["proxyWidgets"], instance["widgets_values"] = [proxy], [value]
    return file


def _instance(type_name: str, names: list[str]) -> dict[str, Any]:
    types = ["CLIP", "CLIP", "MODEL", "LATENT"]
    sockets = [
        {"name": name, "type": type, "link": link}
        for name, type, link in zip(names, types, (1, 2, 5, 8), strict=True)
    ]
    return {
        "id": INSTANCE, "type": type_name, "pos": [400, 0], "size": [300, 300], "flags": {},
        "order": 3, "mode": 0, "properties": {}, "inputs": sockets,
        "outputs": [{"name": "LATENT", "type": "LATENT", "links": [9], "slot_index": 0}],
    }  # fmt: skip


def _definition(
    id: str, nodes: list[Any], links: list[dict[str, Any]], ports: list[tuple[str, str]]
) -> dict[str, Any]:
    inputs = [
        {
            "id": f"{id[:-2]}{slot:02}", "name": name, "type": type,
            "linkIds": [link["id"] for link in links if link["origin_slot"] == slot
                        and link["origin_id"] == -10],
        }
        for slot, (name, type) in enumerate(ports)
    ]  # fmt: skip
    outputs = [{"id": f"{id[:-2]}99", "name": "LATENT", "type": "LATENT", "linkIds": [9]}]
    return {
        "id": id, "version": 1, "revision": 0, "name": "pass", "config": {}, "groups": [],
        "state": {"lastGroupId": 0, "lastNodeId": 30, "lastLinkId": 20, "lastRerouteId": 0},
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 120]},
        "outputNode": {"id": -20, "bounding": [900, 0, 120, 60]},
        "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "links": links,
        "extra": {},
    }  # fmt: skip


def _link(id: int, origin: int, output: int, target: int, socket: int, type: str) -> dict[str, Any]:
    ends = {"origin_id": origin, "origin_slot": output, "target_id": target, "target_slot": socket}
    return {"id": id, **ends, "type": type}
