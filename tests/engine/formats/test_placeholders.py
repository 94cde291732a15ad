"""Nodes that are not installed keep all that they hold, from file to file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, losses, name_outputs, parse_graph
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.lint import lint
from latentloom.engine.graph.validate import check
from latentloom.engine.node.registry import Registry
from tests.cli.commands import as_json, run

REGISTRY = Registry.from_package("latentloom.nodes")

PICKER: dict[str, Any] = {
    "id": 7, "type": "Power Picker", "pos": [10, 20.5], "size": [200, 90],
    "flags": {"pinned": True},
    "order": 1, "mode": 0, "title": "pick one", "color": "#233", "odd": {"key": [1, None]},
    "inputs": [{"name": "image", "type": "IMAGE", "link": 1, "shape": 7}],
    "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
    "properties": {"aux_id": "someone/pickers", "ver": "1.2.0"},
    "widgets_values": [3, "b", {"deep": [True]}],
}  # fmt: skip
WORKFLOW: dict[str, Any] = {
    "id": "0", "revision": 3, "last_node_id": 12, "last_link_id": 2,
    "nodes": [
        {"id": 1, "type": "LoadImage", "pos": [0, 0], "mode": 0, "inputs": [],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]},
                     {"name": "MASK", "type": "MASK", "links": None}],
         "widgets_values": ["house.png", "image"], "properties": {}},
        PICKER,
        {"id": 9, "type": "SaveImage", "pos": [900, 0], "mode": 0, "outputs": [], "properties": {},
         "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "widgets_values": ["x"]},
        {"id": 11, "type": "Note", "pos": [5, 5], "mode": 0, "title": "read me", "properties": {},
         "widgets_values": ["first\nsecond"]},
        {"id": 12, "type": "ImageInvert", "mode": 2, "inputs": [], "outputs": []},
    ],
    "links": [[1, 1, 0, 7, 0, "IMAGE"], [2, 7, 0, 9, 0, "IMAGE"]],
    "groups": [{"title": "g", "bounding": [0, 0, 10, 10], "color": "#3f789e"}],
    "config": {}, "version": 0.4, "models": [{"name": "m"}],
    "extra": {"ds": {"scale": 1.5, "offset": [1, 2]}, "pack": {"x": 18446744073709552000}},
}  # fmt: skip
PROMPT: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "house.png"}, "_meta": {"title": "Load"}},
    "2": {
        "class_type": "Power Picker",
        "inputs": {"image": ["1", 0], "list": [1, 2, 3], "pair": ["a", 0.5], "seed": 2**80},
        "_meta": {"title": "pick", "cnr_id": "pickers", "ver": "2.0"},
        "is_changed": ["x"],
    },
}


def again(data: dict[str, Any], form: str) -> Any:
    graph = name_outputs(parse_graph(json.dumps(data), REGISTRY), REGISTRY)
    return json.loads(dump_graph(graph, form, REGISTRY))


def through_yaml(data: dict[str, Any]) -> Graph:
    graph = name_outputs(parse_graph(json.dumps(data), REGISTRY), REGISTRY)
    return parse_graph(dump_graph(graph, "yaml", REGISTRY), REGISTRY)


def test_a_file_that_is_saved_again_in_its_form_is_equal() -> None:
    assert again(WORKFLOW, "editor") == WORKFLOW
    assert again(PROMPT, "comfy") == PROMPT
    assert losses(parse_graph(json.dumps(WORKFLOW), REGISTRY), "editor") == []


def test_a_changed_file_keeps_the_rest() -> None:
    graph = parse_graph(json.dumps(WORKFLOW), REGISTRY).set("9.filename_prefix", "y")
    nodes = {
        node["id"]: node for node in json.loads(dump_graph(graph, "editor", REGISTRY))["nodes"]
    }
    assert nodes[9]["widgets_values"] == ["y"]
    assert nodes[7]["widgets_values"] == PICKER["widgets_values"]


def test_native_files_carry_values_places_groups_notes_and_unknown_keys() -> None:
    graph = through_yaml(WORKFLOW)
    file = json.loads(dump_graph(graph, "editor", REGISTRY))
    picker = next(node for node in file["nodes"] if node["type"] == "Power Picker")
    for key in ("pos", "size", "flags", "title", "color", "odd", "widgets_values"):
        assert picker[key] == PICKER[key]
    assert picker["properties"].items() >= PICKER["properties"].items()
    note = next(node for node in file["nodes"] if node["type"] == "Note")
    assert (note["title"], note["pos"], note["widgets_values"]) == (
        "read me", [5, 5], ["first\nsecond"],
    )  # fmt: skip
    assert [file[key] for key in ("groups", "models", "revision")] == [
        WORKFLOW[key] for key in ("groups", "models", "revision")
    ]
    links = {(link[1], link[2], link[3]) for link in file["links"]}
    assert links == {(1, 0, 7), (7, 0, 9)}


def test_values_by_name_reach_every_form() -> None:
    node = {"id": 2, "type": "Power Picker", "widgets_values": [1, "a"],
            "widgets_values_named": {"count": 1, "mode": "a"}}  # fmt: skip
    graph = through_yaml({"nodes": [node], "links": []})
    prompt = json.loads(dump_graph(graph, "comfy", REGISTRY))
    assert prompt["2"]["inputs"] == {"count": 1, "mode": "a"}
    (written,) = json.loads(dump_graph(graph, "editor", REGISTRY))["nodes"]
    assert written["widgets_values_named"] == {"count": 1, "mode": "a"}


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_number_beyond_64_bits_is_a_float_in_native_files(form: str) -> None:
    graph = parse_graph(json.dumps(PROMPT), REGISTRY)
    again = parse_graph(dump_graph(graph, form, REGISTRY), REGISTRY)
    assert again.nodes["2"].inputs["seed"] == float(2**80)


def test_what_a_form_cannot_hold_is_listed() -> None:
    graph = parse_graph(json.dumps(WORKFLOW), REGISTRY)
    to_yaml = [(loss.node, loss.type) for loss in losses(graph, "yaml")]
    assert to_yaml == []
    to_prompt = {loss.node: loss.text for loss in losses(graph, "comfy")}
    assert "3, 'b'" in to_prompt["7"]
    assert to_prompt["12"] == "left out: it is muted"
    assert "1 groups, 1 notes" in to_prompt[""]


def test_convert_prints_what_is_not_carried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "w.json"
    source.write_text(json.dumps(WORKFLOW))
    code, out, err = run(capsys, "convert", source, tmp_path / "w.api.json")
    assert (code, out.strip()) == (0, str(tmp_path / "w.api.json"))
    assert "not carried: Power Picker (7): its values have no names" in err
    code, result = as_json(capsys, "convert", source, tmp_path / "w.yaml")
    assert (code, result["not_carried"]) == (0, [])
    code, out, err = run(capsys, "convert", source, tmp_path / "w.editor.json")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "w.editor.json").read_text()) == WORKFLOW


@pytest.mark.parametrize(
    ("properties", "hint"),
    [
        ({"cnr_id": "impact-pack", "ver": "8.1"}, "install the pack impact-pack 8.1"),
        ({"aux_id": "someone/pickers"}, "install the pack someone/pickers"),
        ({"cnr_id": "comfy-core", "ver": "0.3.64"}, "it is a core node of ComfyUI"),
        ({}, "install the pack it comes from"),
    ],
)  # fmt: skip
def test_the_pack_is_named_and_no_similar_node_offered(properties: Any, hint: str) -> None:
    node = {"id": 1, "type": "KSamplerr", "properties": properties, "widgets_values": []}
    save = {"id": 2, "type": "SaveImage", "inputs": [{"name": "images", "type": "*", "link": 1}]}
    data = {"nodes": [node, save], "links": [[1, 1, 0, 2, 0, "IMAGE"]]}
    prompt = {
        "1": {"class_type": "KSamplerr", "inputs": {}, "_meta": properties},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
    }
    graphs = [parse_graph(json.dumps(file), REGISTRY) for file in (data, prompt)]
    if properties:
        graphs.append(through_yaml(data))
    for graph in graphs:
        problems = check(graph, REGISTRY, Workspace())
        (hinted,) = [problem.hint for problem in problems if problem.kind == "unknown_node"]
        assert hinted.startswith(hint)


def test_a_core_node_is_named_as_one_without_any_properties() -> None:
    node = {"id": 1, "type": "EmptyHunyuanLatentVideo", "widgets_values": [8, 8, 1, 1]}
    graph = parse_graph(json.dumps({"nodes": [node], "links": []}), REGISTRY)
    (problem,) = check(graph, REGISTRY, Workspace())
    assert problem.hint == "it is a core node of ComfyUI, which latentloom does not have"


def test_an_unneeded_node_that_is_not_installed_is_named_with_its_pack() -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "inputs/house.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "Compare", "inputs": {"a": ["1", 0]}, "_meta": {"cnr_id": "rgthree"}},
    }
    warnings = lint(parse_graph(json.dumps(prompt), REGISTRY), REGISTRY, Workspace())
    assert [(warning.node, warning.hint) for warning in warnings] == [
        ("3", "install the pack rgthree")
    ]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
extras = st.dictionaries(st.text(min_size=1, max_size=6).map("x{}".format), plain, max_size=3)


@given(st.lists(plain, max_size=4), extras, extras, st.lists(extras, max_size=2))
def test_any_decoration_survives(
    values: list[Any], more: dict[str, Any], root: dict[str, Any], groups: list[dict[str, Any]]
) -> None:
    node = {"id": 3, "type": "Odd", "pos": [1, 2], "widgets_values": values, **more}
    data = {"nodes": [node], "links": [], "groups": groups, **root}
    assert again(data, "editor") == data
    file = json.loads(dump_graph(through_yaml(data), "editor", REGISTRY))
    (written,) = file["nodes"]
    carried = {key: value for key, value in more.items() if value not in ({}, [], None)}
    assert {key: written[key] for key in carried} == carried
    assert (written["widgets_values"] or []) == values
    assert file["groups"] == groups
