"""Workflow files in circulation that earlier versions refused, or read as something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, parse_graph
from latentloom.engine.formats.comfy_editor import read_workflow
from latentloom.engine.formats.comfy_prompt import read_prompt
from latentloom.engine.graph.graph import Graph, Link
from latentloom.engine.graph.lint import file_warnings
from latentloom.engine.graph.validate import check
from latentloom.engine.node.registry import Registry

REGISTRY = Registry.from_package("latentloom.nodes")
SEEDS = 2**64 - 1
INSTANCE = "aaaaaaaa-0000-4000-8000-000000000001"


def node(id: int, type: str, values: Any = None, *inputs: dict[str, Any]) -> dict[str, Any]:
    entry = {"id": id, "type": type, "inputs": list(inputs)}
    return entry if values is None else entry | {"widgets_values": values}


def socket(name: str, type: str, link: int | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, "link": link, **more}


def widget(name: str, type: str, link: int | None) -> dict[str, Any]:
    return socket(name, type, link, widget={"name": name})


def read(*nodes: dict[str, Any], links: tuple[list[Any], ...] = (), **more: Any) -> Graph:
    return read_workflow({"nodes": list(nodes), "links": list(links), **more}, REGISTRY)


def exported(graph: Graph) -> dict[str, Any]:
    prompt: dict[str, Any] = json.loads(dump_graph(graph, "comfy", REGISTRY))
    return {id: entry["inputs"] for id, entry in prompt.items()}


def test_a_core_node_that_is_not_installed_has_its_values_by_name() -> None:
    graph = read(node(1, "EmptySD3LatentImage", [1024, 768, 2]))
    assert exported(graph) == {"1": {"width": 1024, "height": 768, "batch_size": 2}}


def test_values_that_an_option_adds_follow_it() -> None:
    values = ["scale longer dimension", 700, "area"]
    inputs = read(node(1, "ResizeImageMaskNode", values)).nodes["1"].inputs
    assert inputs["resize_type.longer_size"] == 700
    assert inputs["scale_method"] == "area"


@pytest.mark.parametrize(
    ("entry", "inputs"),
    [
        (
            {"widgets_values": [1, "b"], "widgets_values_named": {"x": 1, "y": "b"}},
            {"x": 1, "y": "b"},
        ),
        ({"widgets_values": {"x": 1, "videopreview": {}}}, {"x": 1}),
        ({"widgets_values_named": {"x": 1}}, {"x": 1}),
        (
            {"widgets_values": [1, "c"], "widgets_values_named": {"x": 1, "y": "b"}},
            {"x": 1, "y": "c"},
        ),
        (
            {"widgets_values": [7, "randomize", 2.5],
             "inputs": [widget("seed", "INT", None), widget("scale", "FLOAT", None)]},
            {"seed": 7, "scale": 2.5},
        ),
    ],
)  # fmt: skip
def test_a_file_that_names_the_values_of_an_undeclared_node_is_believed(
    entry: dict[str, Any], inputs: dict[str, Any]
) -> None:
    assert dict(read({**node(1, "Unheard Of"), **entry}).nodes["1"].inputs) == inputs


def test_values_of_an_undeclared_node_without_names_stay_a_list() -> None:
    held = read(node(1, "Unheard Of", [3, "x"])).nodes["1"]
    assert (dict(held.inputs), held.positional) == ({}, (3, "x"))


@pytest.mark.parametrize("control", [True, False, "randomize", None])
def test_the_control_of_a_seed_may_be_a_boolean_or_missing(control: object) -> None:
    controls = [] if control is None else [control]
    values = [5, *controls, 20, 8, "euler", "normal", 1]
    inputs = read(node(1, "KSampler", values)).nodes["1"].inputs
    assert dict(inputs) == {
        "seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
        "denoise": 1.0,
    }  # fmt: skip


def test_a_group_node_may_hold_booleans_after_seeds() -> None:
    inner = {"type": "KSampler", "widgets_values": [1, True, 2, 3, "euler", "normal", 1]}
    groups = {"groupNodes": {"g": {"nodes": [inner], "links": []}}}
    outer = node(4, "workflow>g", [9, False, 20, 8, "euler", "normal", 0.5])
    inputs = read(outer, extra=groups).nodes["4:0"].inputs
    assert (inputs["seed"], inputs["steps"], inputs["denoise"]) == (9, 20, 0.5)


@pytest.mark.parametrize(
    "ends", [[None, 0, 0, 0], [0, None, 0, 0], [0, 0, None, 0], [0, 0, 0, None]]
)
def test_a_groups_link_without_an_end_leaves_an_open_input(ends: list[Any]) -> None:
    inside = [
        {"type": "ImageInvert", "inputs": [socket("image", "IMAGE", None)],
         "outputs": [{"name": "IMAGE", "type": "IMAGE"}]},
        {"type": "SaveImage", "inputs": [socket("images", "IMAGE", None)], "widgets_values": ["x"]},
    ]  # fmt: skip
    links = [[*ends, 1, "IMAGE"], None, [0, 0, 1, 0, 2, "IMAGE"]]
    graph = read(
        node(1, "LoadImage", ["house.png", "image"]),
        node(2, "workflow>g", ["x"], socket("image", "IMAGE", 1)),
        links=([1, 1, 0, 2, 0, "IMAGE"],),
        extra={"groupNodes": {"g": {"nodes": inside, "links": links}}},
    )
    assert graph.nodes["2:0"].inputs["image"] == Link("1", 0)
    assert graph.nodes["2:1"].inputs["images"] == Link("2:0", 0)


def test_a_link_without_an_end_is_none() -> None:
    image = node(2, "ImageInvert", None, socket("image", "IMAGE", 1))
    assert "image" not in read(image, links=([1, None, None, 2, 0, "IMAGE"],)).nodes["2"].inputs


JSON_PROMPT = '{"scene": "a red house", "light": {"time": "dusk"}}'


def promoted(instance: dict[str, Any], text: str = JSON_PROMPT) -> Graph:
    inner = node(2, "CLIPTextEncode", [text], widget("text", "STRING", 1))
    link = {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0}
    definition = {
        "id": INSTANCE, "name": "s", "inputs": [{"name": "text", "type": "STRING"}], "outputs": [],
        "nodes": [inner], "links": [link],
    }  # fmt: skip
    outer = {**node(1, INSTANCE, None, widget("text", "STRING", None)), **instance}
    return read(outer, definitions={"subgraphs": [definition]})


@pytest.mark.parametrize(
    "instance",
    [
        {"properties": {"proxyWidgets": [["2", "text"]]}, "widgets_values": []},
        {"properties": {"proxyWidgets": [["2", "text"]]}, "widgets_values": [JSON_PROMPT]},
        {"properties": {"proxyWidgets": [["-1", "text"]]}, "widgets_values": [JSON_PROMPT]},
        {"widgets_values": [JSON_PROMPT]},
        {"widgets_values_named": {"text": JSON_PROMPT}},
        {"widgets_values": 5},
        {},
    ],
)
def test_a_promoted_text_stays_as_it_is(instance: dict[str, Any]) -> None:
    assert promoted(instance).nodes["1:2"].inputs["text"] == JSON_PROMPT


def test_alternatives_are_chosen_only_in_the_texts_where_the_editor_does_it() -> None:
    graph = read(
        node(1, "CLIPTextEncode", ["{red} house"]),
        node(2, "PrimitiveStringMultiline", ["{red} house"]),
        node(3, "StringConcatenate", ["{red}", "http://x", ""]),
    )
    assert graph.nodes["1"].inputs["text"] == "red house"
    assert graph.nodes["2"].inputs["value"] == "{red} house"
    assert graph.nodes["3"].inputs["string_b"] == "http://x"


def test_the_text_of_a_primitive_is_that_of_the_widget_which_it_feeds() -> None:
    graph = read(
        node(1, "PrimitiveNode", ["{red} house"]),
        node(2, "CLIPTextEncode", [""], widget("text", "STRING", 1)),
        links=([1, 1, 0, 2, 0, "STRING"],),
    )
    assert graph.nodes["2"].inputs["text"] == "red house"


@pytest.mark.parametrize("seed", [2**64, 18446744073709552000, 10**300, 1e30, -1])
def test_a_seed_beyond_its_range_is_limited_with_a_warning(seed: float) -> None:
    used = 0 if seed < 0 else SEEDS
    feeding = node(3, "PrimitiveNode", [seed, "fixed"])
    link = [1, 3, 0, 2, 0, "INT"]
    editor = {
        "nodes": [
            node(1, "RandomNoise", [seed, "fixed"]),
            node(2, "RandomNoise", [1], widget("noise_seed", "INT", 1)),
            feeding,
        ],
        "links": [link],
    }
    api = {"1": {"class_type": "RandomNoise", "inputs": {"noise_seed": seed}}}
    for data, ids in ((editor, "12"), (api, "1")):
        graph = parse_graph(json.dumps(data), REGISTRY)
        assert [graph.nodes[id].inputs["noise_seed"] for id in ids] == [used] * len(ids)
        warned = [(warning.rule, warning.node) for warning in file_warnings(graph, REGISTRY)]
        assert warned == [("converted-value", id) for id in ids]


def test_a_seed_that_a_server_gets_is_not_limited() -> None:
    prompt = {"1": {"class_type": "RandomNoise", "inputs": {"noise_seed": -1}}}
    assert read_prompt(prompt, REGISTRY).nodes["1"].inputs["noise_seed"] == -1


def test_another_huge_number_is_refused_where_it_stands() -> None:
    prompt = {"1": {"class_type": "EmptyImage", "inputs": {"width": 2**70}}}
    problems = check(parse_graph(json.dumps(prompt), REGISTRY), REGISTRY, Workspace())
    assert ("out_of_range", "1", "width") in [(p.kind, p.node, p.port) for p in problems]


@given(st.integers(-(10**398), 10**399))
def test_a_number_in_decoration_is_carried(number: int) -> None:
    data = {"1": {"class_type": "EmptyImage", "inputs": {}, "at": number}}
    assert parse_graph(json.dumps(data)).nodes["1"].extra["at"] == number


def test_a_list_of_values_wins_over_names_that_serve_where_it_is_absent() -> None:
    named = {"image": "other.png", "upload": "image"}
    both = {**node(1, "LoadImage", ["house.png", "image"]), "widgets_values_named": named}
    alone = {**node(2, "LoadImage"), "widgets_values_named": named}
    inputs = [read(both, alone).nodes[id].inputs["image"] for id in "12"]
    assert inputs == ["house.png", "other.png"]


def test_a_required_value_that_is_missing_is_written_as_its_default() -> None:
    short = read(node(1, "SaveImage"), node(2, "KSampler", [4, "fixed", 9]))
    assert exported(short)["1"] == {"filename_prefix": "ComfyUI"}
    assert exported(short)["2"]["cfg"] == 8.0
    native = Graph().add("s", "SaveImage").add("l", "LoadImage", image="a.png")
    assert exported(native)["s"] == {"filename_prefix": "ComfyUI"}


def virtual(type: str) -> Graph:
    return read(
        node(1, "LoadImage", ["house.png", "image"]),
        node(2, type, [], socket("IMAGE", "IMAGE", 1)),
        node(3, "SaveImage", ["x"], socket("images", "IMAGE", 2)),
        links=([1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]),
    )


@pytest.mark.parametrize("type", ["Reroute", "Reroute (rgthree)"])
def test_a_node_of_the_editor_that_passes_on_stands_for_its_link(type: str) -> None:
    graph = virtual(type)
    assert set(graph.nodes) == {"1", "3"}
    assert graph.nodes["3"].inputs["images"] == Link("1", 0)


@pytest.mark.parametrize(
    "type", ["Note", "Label (rgthree)", "Fast Groups Muter (rgthree)", "Node Collector (rgthree)"]
)
def test_a_node_of_the_editor_that_carries_nothing_is_left_out(type: str) -> None:
    assert set(virtual(type).nodes) == {"1", "3"}


def encoded(title: str) -> dict[str, Any]:
    return {"title": title, "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING"}]}


def everywhere(*nodes: dict[str, Any], **more: Any) -> Graph:
    """A checkpoint whose outputs are fed by these nodes to an encoder and a sampler."""
    links = ([1, 1, 0, 10, 0, "MODEL"], [2, 1, 1, 11, 0, "CLIP"], [3, 2, 0, 12, 0, "CONDITIONING"],
             [4, 3, 0, 12, 1, "CONDITIONING"])  # fmt: skip
    return read(
        node(1, "CheckpointLoaderSimple", ["demo"]) | {"outputs": [
            {"name": name, "type": name} for name in ("MODEL", "CLIP", "VAE")]},
        node(2, "CLIPTextEncode", ["a"], socket("clip", "CLIP", None)) | encoded("good"),
        node(3, "CLIPTextEncode", ["b"], socket("clip", "CLIP", None)) | encoded("bad"),
        node(4, "KSampler", None, socket("model", "MODEL", None),
             socket("positive", "CONDITIONING", None), socket("negative", "CONDITIONING", None),
             widget("seed", "INT", None)),
        *nodes, links=links, **more,
    )  # fmt: skip


def test_anything_everywhere_feeds_the_unlinked_inputs_of_its_type() -> None:
    nodes = everywhere(
        node(10, "Anything Everywhere", [], socket("MODEL", "MODEL", 1)),
        node(11, "Anything Everywhere3", [], socket("anything", "*", 2), socket("a", "*", None)),
        node(12, "Prompts Everywhere", [], socket("p", "*", 3), socket("n", "*", 4)),
        node(13, "Seed Everywhere", [77, "fixed"]),
    ).nodes
    assert set(nodes) == {"1", "2", "3", "4"}
    assert [nodes[id].inputs["clip"] for id in "23"] == [Link("1", 1)] * 2
    sampler = nodes["4"].inputs
    assert (sampler["model"], sampler["seed"]) == (Link("1", 0), 77)
    assert (sampler["positive"], sampler["negative"]) == (Link("2", 0), Link("3", 0))


def test_a_regular_expression_chooses_the_nodes_by_title() -> None:
    chosen = node(11, "Anything Everywhere?", ["^go+d$", ".*"], socket("CLIP", "CLIP", 2))
    nodes = everywhere(chosen).nodes
    assert nodes["2"].inputs["clip"] == Link("1", 1)
    assert "clip" not in nodes["3"].inputs


@pytest.mark.parametrize("pattern", ["(a+)+$", "a*a*a*", "[", "(" * 500, "x" * 201])
def test_a_regular_expression_that_is_wrong_or_may_hang_is_refused(pattern: str) -> None:
    chosen = node(11, "Anything Everywhere?", [pattern, ""], socket("CLIP", "CLIP", 2))
    with pytest.raises(FormatError, match=r"\(11\): expected a simple regular expression"):
        everywhere(chosen)


def test_two_that_are_equally_specific_feed_nothing() -> None:
    twice = [node(id, "Anything Everywhere", [], socket("CLIP", "CLIP", 2)) for id in (11, 14)]
    assert "clip" not in everywhere(*twice).nodes["2"].inputs


def test_links_that_the_file_lists_come_first() -> None:
    listed = {"downstream": 3, "downstream_slot": 0, "upstream": "1", "upstream_slot": 1}
    sender = node(11, "Anything Everywhere", [], socket("CLIP", "CLIP", 2))
    nodes = everywhere(sender, extra={"ue_links": [listed, {"downstream": 99}, None]}).nodes
    assert nodes["3"].inputs["clip"] == Link("1", 1)
    assert "clip" not in nodes["2"].inputs
