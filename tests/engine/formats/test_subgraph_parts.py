"""Subgraphs of the editor as parts, with their names; its shared values as inputs of the graph."""

from __future__ import annotations

import copy
import json
from typing import Any

from latentloom.engine.formats import dump_graph, losses, name_outputs, parse_graph, readable
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef
from tests.engine.formats import old_files
from tests.engine.formats.test_comfy_editor import REGISTRY, nested, shape


def read(data: dict[str, Any]) -> Graph:
    return name_outputs(parse_graph(json.dumps(data), REGISTRY), REGISTRY)


def converted(data: dict[str, Any]) -> Graph:
    """The graph of a file of the editor, as `convert` writes it and reads it again."""
    return parse_graph(dump_graph(readable(read(data), REGISTRY), "yaml", REGISTRY), REGISTRY)


def twice() -> dict[str, Any]:
    """Two instances of one subgraph in a row, the second with a title and another value."""
    data = nested()
    data["definitions"]["subgraphs"][0]["name"] = "Enlarge & invert"
    second = copy.deepcopy(data["nodes"][1]) | {"id": 11, "title": "Again", "pos": [5, 6]}
    second["widgets_values"] = [1.5]
    second["inputs"][0]["link"], second["outputs"][0]["links"] = 2, [3]
    data["nodes"].insert(2, second)
    data["nodes"][3]["inputs"][0]["link"] = 3
    data["links"] = [*data["links"][:1], [2, 10, 0, 11, 0, "IMAGE"], [3, 11, 0, 4, 0, "IMAGE"]]
    return data


def test_a_subgraph_is_a_part_with_its_name_and_instances_are_uses() -> None:
    graph = converted(twice())
    assert list(graph.parts) == ["enlarge_invert"]
    assert list(graph.uses) == ["enlarge_invert", "again"]
    part = graph.parts["enlarge_invert"]
    assert list(part.body.nodes) == ["image_scale_by", "image_invert"]
    assert (list(part.inputs), list(part.outputs)) == (["image", "scale_by"], ["image"])
    assert not part.inputs["image"].optional
    assert graph.layout["nodes"]["again"]["pos"] == [5, 6]


def test_the_values_that_a_subgraph_shows_are_inputs_of_the_graph() -> None:
    graph = converted(twice())
    assert graph.inputs == {
        "scale_by": GraphInput("float", 2.5),
        "scale_by_2": GraphInput("float", 1.5),
    }
    assert graph.nodes["again:image_scale_by"].inputs["scale_by"] == InputRef("scale_by_2")


def test_the_same_runs_as_without_parts() -> None:
    for data in (twice(), old_files.proxied(old_files.plain(REGISTRY))):
        assert sorted(map(str, shape(converted(data).bound()))) == sorted(
            map(str, shape(read(data)))
        )


def test_values_by_proxies_are_inputs_of_the_part() -> None:
    graph = converted(old_files.proxied(old_files.plain(REGISTRY)))
    (part,) = graph.parts.values()
    assert part.inputs["seed"].default == 7
    assert graph.inputs["seed"] == GraphInput("int", 77)


def test_an_input_that_one_instance_leaves_open_is_optional() -> None:
    data = twice()
    data["nodes"][2]["inputs"][0]["link"] = None
    graph = converted(data)
    assert graph.parts["enlarge_invert"].inputs["image"].optional
    assert "image" not in graph.nodes["again:image_scale_by"].inputs


def test_a_part_is_not_reported_as_lost() -> None:
    graph = read(twice())
    assert [loss.text for loss in losses(graph, "yaml")] == []
    assert "its nodes stand one by one" in [loss.text[10:] for loss in losses(graph, "comfy")]


def test_a_primitive_is_an_input_of_the_graph_by_its_title() -> None:
    widget = {"name": "scale_by", "type": "FLOAT", "link": 9, "widget": {"name": "scale_by"}}
    scales = [
        {"id": n, "type": "ImageScaleBy", "inputs": [widget], "widgets_values": ["area", 1.0]}
        for n in (1, 2)
    ]
    scales[1]["inputs"] = [{**widget, "link": 8}]
    primitive = {
        "id": 3, "type": "PrimitiveNode", "title": "How much", "widgets_values": [2.5, "fixed"],
        "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [9, 8]}],
    }  # fmt: skip
    links = [[9, 3, 0, 1, 0, "FLOAT"], [8, 3, 0, 2, 0, "FLOAT"]]
    graph = converted({"nodes": [*scales, primitive], "links": links})
    assert graph.inputs == {"how_much": GraphInput("float", 2.5)}
    assert [n.inputs["scale_by"] for n in graph.nodes.values()] == [InputRef("how_much")] * 2


FILE = """\
latentloom: 1
parts:
  bright:
    inputs: {image: {}, by: 0.5, how: area}
    nodes:
      scale: {node: ImageScaleBy, image: '${image}', scale_by: '${by}', upscale_method: '${how}'}
      invert: {node: ImageInvert, image: $scale.IMAGE}
    outputs: {same: '${image}', image: $invert.IMAGE, small: $scale.IMAGE}
nodes:
  photo: {node: LoadImage, image: inputs/house.png}
  first: {part: bright, title: One, image: $photo.IMAGE, by: 0.25}
  second: {part: bright, image: $first.image}
  save: {node: SaveImage, images: $second.image}
  preview: {node: PreviewImage, images: $first.small}
"""


def written(text: str) -> dict[str, Any]:
    graph = parse_graph(text, REGISTRY)
    file: dict[str, Any] = json.loads(dump_graph(graph, "editor", REGISTRY))
    return file


def test_parts_are_written_as_subgraphs_and_read_again() -> None:
    file = written(FILE)
    (definition,) = file["definitions"]["subgraphs"]
    instances = [node for node in file["nodes"] if node["type"] == definition["id"]]
    assert definition["name"] == "bright"
    assert [node["title"] for node in instances] == ["One", "bright"]
    assert [node["widgets_values"] for node in instances] == [[0.25, "area"], [0.5, "area"]]
    assert [port["name"] for port in definition["inputs"]] == ["image", "by", "how"]
    again, before = read(file), parse_graph(FILE, REGISTRY)
    assert sorted(map(str, shape(again))) == sorted(map(str, shape(before)))
    graph = converted(file)
    assert list(graph.uses) == ["first", "second"]
    assert graph.parts["bright"].inputs["by"].default == 0.5


def test_links_of_a_subgraph_name_each_other() -> None:
    (definition,) = written(FILE)["definitions"]["subgraphs"]
    links = {link["id"]: link for link in definition["links"]}
    for port in definition["inputs"]:
        assert all(links[number]["origin_id"] == -10 for number in port["linkIds"])
        assert port["linkIds"]
    held = [n for node in definition["nodes"] for s in node["inputs"] if (n := s["link"])]
    held += [n for port in definition["outputs"] for n in port["linkIds"]]
    assert sorted(held) == sorted(links)


def test_a_part_with_a_node_that_nothing_declares_is_written_node_by_node() -> None:
    unheard = FILE.replace("node: ImageInvert", "node: Unheard")
    file = written(unheard.replace("$invert.IMAGE", "$invert.0"))
    assert "definitions" not in file
    assert [n["type"] for n in file["nodes"]].count("Unheard") == 2


def test_a_muted_node_beside_a_part_is_written_again() -> None:
    data = twice()
    muted = {"id": 30, "type": "PreviewImage", "mode": 2, "outputs": [], "widgets_values": []}
    muted["inputs"] = [{"name": "images", "type": "IMAGE", "link": 7}]
    data["nodes"].append(muted)
    data["links"].append([7, 10, 0, 30, 0, "IMAGE"])
    file = json.loads(dump_graph(converted(data), "editor", REGISTRY))
    (again,) = [node for node in file["nodes"] if node.get("mode") == 2]
    assert again["type"] == "PreviewImage"
    assert again["inputs"][0]["link"] is not None
