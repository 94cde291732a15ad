"""Files of early editors and programs, which hold what later ones do not write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import parse_graph
from latentloom.engine.formats.comfy_editor import read_workflow
from latentloom.engine.formats.comfy_prompt import read_prompt, write_prompt
from latentloom.engine.formats.comfy_tokens import fill_tokens
from latentloom.engine.formats.comfy_values import values_by_position
from latentloom.engine.formats.parsing import parse_json
from latentloom.engine.graph.graph import Link, Node
from latentloom.engine.graph.lint import lint
from latentloom.engine.node.registry import Registry

REGISTRY = Registry.from_package("latentloom.nodes")


def workflow(*nodes: dict[str, Any], links: tuple[list[Any], ...] = ()) -> dict[str, Any]:
    return {"last_node_id": 9, "nodes": list(nodes), "links": list(links)}


def save_image(id: int | str, prefix: str, link: int) -> dict[str, Any]:
    sockets = [{"name": "images", "type": "IMAGE", "link": link}]
    return {"id": id, "type": "SaveImage", "inputs": sockets, "widgets_values": [prefix]}


def test_the_second_of_two_nodes_with_one_id_gets_the_next_free_id() -> None:
    image = {"id": 2, "type": "EmptyImage", "widgets_values": [16, 16, 1, 0]}
    saves = save_image(3, "first", 1), save_image("3", "second", 1), save_image(10, "x", 1)
    graph = read_workflow(workflow(image, *saves, links=([1, 2, 0, 3, 0, "IMAGE"],)), REGISTRY)
    prefixes = {id: node.inputs.get("filename_prefix") for id, node in graph.nodes.items()}
    assert prefixes == {"2": None, "3": "first", "11": "second", "10": "x"}
    assert graph.nodes["11"].inputs["images"] == Link("2", 0)


def test_set_and_get_stand_for_the_link_that_they_name() -> None:
    image = {"id": 2, "type": "EmptyImage", "widgets_values": [16, 16, 1, 0]}
    sockets = [{"name": "IMAGE", "type": "IMAGE", "link": 1}]
    setter = {"id": 3, "type": "SetNode", "inputs": sockets, "widgets_values": ["pic"]}
    getter = {"id": 4, "type": "GetNode", "inputs": [], "widgets_values": ["pic"]}
    lost = {"id": 5, "type": "GetNode", "inputs": [], "widgets_values": ["other"]}
    saves = save_image(6, "a", 2), save_image(7, "b", 3), save_image(8, "c", 4)
    links = ([1, 2, 0, 3, 0, "IMAGE"], [2, 4, 0, 6, 0, "IMAGE"], [3, 3, 0, 7, 0, "IMAGE"],
             [4, 5, 0, 8, 0, "IMAGE"])  # fmt: skip
    data = workflow(image, setter, getter, lost, *saves, links=links)
    nodes = read_workflow(data, REGISTRY).nodes
    assert set(nodes) == {"2", "6", "7", "8"}
    assert [nodes[id].inputs.get("images") for id in "678"] == [Link("2", 0), Link("2", 0), None]


def test_a_name_that_is_set_from_itself_is_refused() -> None:
    sockets = [{"name": "IMAGE", "type": "IMAGE", "link": 1}]
    setter = {"id": 3, "type": "SetNode", "inputs": sockets, "widgets_values": ["pic"]}
    getter = {"id": 4, "type": "GetNode", "widgets_values": ["pic"]}
    links = [1, 4, 0, 3, 0, "IMAGE"], [2, 4, 0, 6, 0, "IMAGE"]
    with pytest.raises(FormatError, match="cycle"):
        read_workflow(workflow(setter, getter, save_image(6, "a", 2), links=links), REGISTRY)


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("a_%EmptyImage.width%", "a_16"),
        ("%My image.width%x%EmptyImage.height%", "16x24"),
        ("%EmptyImage.depth%_%date:yyyy%_%width%", "%EmptyImage.depth%_%date:yyyy%_%width%"),
        ("%LoadImage.image%", "sub_house.png"),
        ("%ImageScaleBy.scale_by%_%RandomNoise.noise_seed%", "2_7"),
    ],
)
def test_values_of_other_nodes_are_filled_into_the_name_of_a_file(prefix: str, filled: str) -> None:
    image = {"id": 2, "type": "EmptyImage", "title": "My image", "widgets_values": [16, 24, 1, 0]}
    loader = {"id": 3, "type": "LoadImage", "widgets_values": ["sub/house.png", "image"]}
    scale = {"id": 4, "type": "ImageScaleBy", "widgets_values": ["lanczos", 2.0]}
    noise = {"id": 5, "type": "RandomNoise", "widgets_values": [7, "fixed"]}
    graph = read_workflow(workflow(image, loader, scale, noise, save_image(6, prefix, 2)), REGISTRY)
    assert graph.nodes["6"].inputs["filename_prefix"] == filled


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e-5, "0.00001"),
        (1e-7, "1e-7"),
        (1e16, "10000000000000000"),
        (1.25e22, "1.25e+22"),
        (True, "true"),
    ],
)
def test_numbers_in_the_name_of_a_file_are_written_as_the_editor_does(
    value: float, text: str
) -> None:
    nodes = {"a": Node("A", {"x": value}), "b": Node("B", {"filename_prefix": "%A.x%"})}
    assert fill_tokens(nodes)["b"].inputs["filename_prefix"] == text


def test_true_or_false_after_a_seed_is_its_control() -> None:
    values = [7, True, 3, 8.0, "euler", "normal", 1.0]
    sampler = {"id": 1, "type": "KSampler", "widgets_values": values}
    inputs = read_workflow(workflow(sampler), REGISTRY).nodes["1"].inputs
    assert (inputs["seed"], inputs["steps"], inputs["denoise"]) == (7, 3, 1.0)


def test_a_boolean_input_after_a_seed_keeps_its_value() -> None:
    spec = REGISTRY["RandomNoise"]
    assert values_by_position(spec, [7, False]) == {"noise_seed": 7}


@pytest.mark.parametrize(
    ("type", "values", "position"),
    [
        ("KSampler", [7, "fixed", 3, 8.0, "sample_euler", "normal", 1.0], 4),
        ("KSamplerSelect", ["sample_dpmpp_2m"], 0),
    ],
)
def test_samplers_lose_the_prefix_of_early_files(
    type: str, values: list[Any], position: int
) -> None:
    node = {"id": 1, "type": type, "widgets_values": values}
    inputs = read_workflow(workflow(node), REGISTRY).nodes["1"].inputs
    assert inputs["sampler_name"] == values[position].removeprefix("sample_")


@pytest.mark.parametrize(
    ("type", "name", "given", "used"),
    [
        ("KSampler", "steps", 2.7, 2),
        ("KSampler", "seed", True, 1),
        ("KSampler", "denoise", True, 1.0),
        ("ImageScaleBy", "scale_by", 2, 2.0),
        ("KSampler", "steps", 3.0, 3),
        ("KSampler", "steps", float("1e999"), float("inf")),
    ],
)
def test_a_number_becomes_the_type_of_its_input_with_a_warning_where_it_changes(
    type: str, name: str, given: Any, used: Any
) -> None:
    graph = read_prompt({"1": {"class_type": type, "inputs": {name: given}}}, REGISTRY)
    value = graph.nodes["1"].inputs[name]
    assert (value, value.__class__) == (used, used.__class__)
    warned = [warning.port for warning in lint(graph, REGISTRY, Workspace())]
    is_changed = given != used or isinstance(given, bool)
    assert (name in warned) == is_changed
    assert name in write_prompt(graph, REGISTRY)["1"]["inputs"] if used != float("inf") else True


def test_a_converted_value_of_an_editors_file_is_reported() -> None:
    values = [7, "fixed", 2.7, 8.0, "euler", "normal", 1.0]
    graph = read_workflow(
        workflow({"id": 1, "type": "KSampler", "widgets_values": values}), REGISTRY
    )
    texts = [warning.text for warning in lint(graph, REGISTRY, Workspace())]
    assert "2.7 in the file is used as 2" in texts


def test_a_number_beside_the_inputs_of_a_node_is_carried() -> None:
    node = {"class_type": "EmptyImage", "inputs": {"width": 16}, "is_changed": [float("nan")]}
    graph = parse_graph(json.dumps({"1": node, "2": {**node, "at": 2**64}}))
    assert graph.nodes["1"].extra == {"is_changed": [None]}
    assert graph.nodes["2"].extra["at"] == float(2**64)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", str(2**64)])
def test_a_number_that_a_node_would_read_is_refused_by_its_path(number: str) -> None:
    node = f'{{"1": {{"class_type": "A", "inputs": {{"x": {number}}}}}}}'
    for text, path in ((node, "/1/inputs/x"), (f'{{"prompt": {node}}}', "/prompt/1/inputs/x")):
        with pytest.raises(FormatError, match=f"at {path}"):
            parse_json(text, numbers="inputs")


def test_a_native_graph_holds_only_finite_numbers() -> None:
    text = '{"latentloom": 1, "nodes": {"a": {"node": "EmptyImage", "width": NaN}}}'
    with pytest.raises(FormatError, match="got NaN at /nodes/a/width"):
        parse_graph(text)
