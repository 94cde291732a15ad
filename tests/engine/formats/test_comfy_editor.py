"""Files of the ComfyUI editor: read as the editor itself makes prompts of them, and written."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError
from latentloom.engine.formats import load_graph, parse_graph
from latentloom.engine.formats.comfy_editor import read_workflow
from latentloom.engine.formats.comfy_values import expand_dynamic_prompt, values_by_position
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.graph.graph import Graph, Link
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.node.registry import Registry
from tests.engine.formats.old_files import grouped, plain, proxied, proxied_twice

REGISTRY = Registry.from_package("latentloom.nodes")
GRAPHS = sorted((graphs_dir() or Path()).glob("*.yaml"))


def shape(graph: Graph) -> list[Any]:
    """A graph without its ids and names of outputs: what runs, on what."""
    order = [id for layer in graph.generations for id in layer]
    numbers = {id: number for number, id in enumerate(order)}

    def plain(value: Any) -> Any:
        if not isinstance(value, Link):
            return value
        spec = REGISTRY[graph.nodes[value.node].type]
        return numbers[value.node], spec.output_index(value.output)

    def full(id: str) -> dict[str, Any]:
        node = graph.nodes[id]
        spec = REGISTRY[node.type]
        defaults = {p.name: p.default for p in spec.inputs if not p.is_required and not p.is_edge}
        given = {name: plain(value) for name, value in node.inputs.items()}
        return {**defaults, **given}

    return [(graph.nodes[id].type, full(id)) for id in order]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_that_is_written_for_the_editor_is_read_back(path: Path) -> None:
    graph = load_graph(path, REGISTRY).bound()
    text = json.dumps(write_workflow(graph, REGISTRY))
    assert shape(parse_graph(text, REGISTRY)) == shape(graph)


def workflow() -> dict[str, Any]:
    """photo -> larger -> inverted -> saved, as the editor writes it."""
    graph = (
        Graph()
        .add("photo", "LoadImage", image="inputs/house.png")
        .add("larger", "ImageScaleBy", image=Link("photo", 0), scale_by=2.0)
        .add("inverted", "ImageInvert", image=Link("larger", 0))
        .add("saved", "SaveImage", images=Link("inverted", 0), filename_prefix="x")
    )
    return write_workflow(graph, REGISTRY)


def test_a_number_that_a_field_holds_as_a_text_is_a_number() -> None:
    data = workflow()
    larger = next(node for node in data["nodes"] if node["type"] == "ImageScaleBy")
    larger["widgets_values"][1] = "3"
    graph = read_workflow(data, REGISTRY)
    assert graph.nodes[str(larger["id"])].inputs["scale_by"] == 3.0


def types(graph: Graph) -> dict[str, str]:
    return {id: node.type for id, node in graph.nodes.items()}


def test_a_bypassed_node_passes_on_and_a_muted_one_cuts() -> None:
    data = workflow()
    data["nodes"][2]["mode"] = 4
    passed = read_workflow(data, REGISTRY)
    assert passed.nodes["4"].inputs["images"] == Link("2", 0)
    assert "3" not in passed.nodes
    data["nodes"][2]["mode"] = 2
    cut = read_workflow(data, REGISTRY)
    assert "images" not in cut.nodes["4"].inputs


def insert(data: dict[str, Any], type: str, link: int, **more: Any) -> dict[str, Any]:
    """The workflow with a node of one input and one output put into a link."""
    data = copy.deepcopy(data)
    number, fresh = data["last_node_id"] + 1, data["last_link_id"] + 1
    old = next(item for item in data["links"] if item[0] == link)
    target = next(node for node in data["nodes"] if node["id"] == old[3])
    socket = next(item for item in target["inputs"] if item["link"] == link)
    socket["link"] = fresh
    data["links"].append([fresh, number, 0, old[3], old[4], old[5]])
    old[3], old[4] = number, 0
    data["nodes"].append(
        {
            "id": number, "type": type, "inputs": [{"name": "", "type": "*", "link": link}],
            "outputs": [{"name": "", "type": "*", "links": [fresh]}], **more,
        }
    )  # fmt: skip
    return data


def test_a_reroute_and_a_note_are_no_nodes() -> None:
    data = insert(workflow(), "Reroute", 2)
    data["nodes"].append({"id": 99, "type": "MarkdownNote", "widgets_values": ["hello"]})
    assert shape(read_workflow(data, REGISTRY)) == shape(read_workflow(workflow(), REGISTRY))


def test_a_primitive_gives_its_value_to_the_field_that_it_feeds() -> None:
    data = workflow()
    scale = data["nodes"][1]
    scale["inputs"].append(
        {"name": "scale_by", "type": "FLOAT", "link": 50, "widget": {"name": "scale_by"}}
    )
    data["links"].append([50, 60, 0, scale["id"], 1, "FLOAT"])
    data["nodes"].append(
        {
            "id": 60, "type": "PrimitiveNode", "widgets_values": [3.5, "fixed"],
            "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [50]}],
        }
    )  # fmt: skip
    assert read_workflow(data, REGISTRY).nodes["2"].inputs["scale_by"] == 3.5


def nested() -> dict[str, Any]:
    """The same workflow with the two middle nodes in a subgraph that shows `scale_by`."""
    data = workflow()
    photo, larger, inverted, saved = data["nodes"]
    larger["inputs"][0]["link"] = 1
    larger["inputs"].append(
        {"name": "scale_by", "type": "FLOAT", "link": 4, "widget": {"name": "scale_by"}}
    )
    inverted["inputs"][0]["link"] = 2
    inner = {
        "id": "0b6f2c1e-0000-4000-8000-000000000001",
        "nodes": [larger, inverted],
        "inputs": [{"name": "image", "type": "IMAGE"}, {"name": "scale_by", "type": "FLOAT"}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0},
            {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": 3, "target_slot": 0},
            {"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0},
            {"id": 4, "origin_id": -10, "origin_slot": 1, "target_id": 2, "target_slot": 1},
        ],
    }
    instance = {
        "id": 10, "type": inner["id"], "widgets_values": [2.5],
        "inputs": [
            {"name": "image", "type": "IMAGE", "link": 1},
            {"name": "scale_by", "type": "FLOAT", "link": None, "widget": {"name": "scale_by"}},
        ],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
    }  # fmt: skip
    saved["inputs"][0]["link"] = 2
    data["nodes"] = [photo, instance, saved]
    data["links"] = [[1, 1, 0, 10, 0, "IMAGE"], [2, 10, 0, 4, 0, "IMAGE"]]
    data["definitions"] = {"subgraphs": [inner]}
    return data


def test_a_subgraph_is_laid_open_with_the_values_that_it_shows() -> None:
    graph = read_workflow(nested(), REGISTRY)
    assert types(graph) == {
        "1": "LoadImage", "10:2": "ImageScaleBy", "10:3": "ImageInvert", "4": "SaveImage",
    }  # fmt: skip
    assert graph.nodes["10:2"].inputs["image"] == Link("1", 0)
    assert graph.nodes["10:2"].inputs["scale_by"] == 2.5
    assert graph.nodes["4"].inputs["images"] == Link("10:3", 0)


@pytest.mark.parametrize(("listed", "scale"), [([2.5], 2.5), (None, 4.0), ([2.5, 1, 7], 4.0)])
def test_a_list_that_fits_wins_over_values_by_name(listed: Any, scale: float) -> None:
    data = nested()
    data["nodes"][1] |= {"widgets_values_named": {"scale_by": 4.0}, "widgets_values": listed}
    assert read_workflow(data, REGISTRY).nodes["10:2"].inputs["scale_by"] == scale


def test_a_node_that_is_not_installed_keeps_its_links() -> None:
    data = insert(workflow(), "FromAPack", 2, title="Mine")
    graph = read_workflow(data, REGISTRY)
    assert graph.nodes["5"].type == "FromAPack"
    assert graph.nodes["3"].inputs["image"] == Link("5", 0)
    assert graph.nodes["5"].title == "Mine"


def test_a_seed_is_followed_by_what_the_editor_does_with_it() -> None:
    spec = REGISTRY["KSampler"]
    values = [7, "randomize", 20, 8.0, "euler", "simple", 1.0]
    named = {
        "seed": 7, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "simple",
        "denoise": 1.0,
    }  # fmt: skip
    assert values_by_position(spec, values) == named
    assert values_by_position(spec, [values[0], *values[2:]]) == named
    assert values_by_position(spec, [7]) == {"seed": 7}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("a house", "a house"),
        ("a /* big\n*/house // no", "a house "),
        (r"a \{red\} house", "a {red} house"),
        ("{red|red} {a|{a|a}}", "red a"),
        ("open /* comment", "open /* comment"),
    ],
)
def test_a_prompt_loses_its_comments_and_gets_its_alternatives(text: str, chosen: str) -> None:
    assert expand_dynamic_prompt(text) == chosen


def test_a_choice_is_the_same_each_time() -> None:
    text = "{a|b|c|d|e|f|g|h}"
    assert len({expand_dynamic_prompt(text) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    "text", ["/*" * 200_000, "*/" + "/*" * 200_000, "{a}" * 100_000, "{" * 10**6]
)
def test_a_prompt_made_to_hurt_is_read_at_once(text: str) -> None:
    assert expand_dynamic_prompt(text)


def test_a_circle_of_reroutes_and_a_subgraph_in_itself_are_refused() -> None:
    data = insert(workflow(), "Reroute", 2)
    data["nodes"][-1]["inputs"][0]["link"] = data["last_link_id"] + 1
    with pytest.raises(FormatError, match="its reroutes form a cycle"):
        read_workflow(data, REGISTRY)
    data = nested()
    inner = data["definitions"]["subgraphs"][0]
    inner["nodes"].append({"id": 77, "type": inner["id"]})
    with pytest.raises(FormatError, match="nested too deep"):
        read_workflow(data, REGISTRY)


def test_a_chain_of_many_reroutes_and_subgraphs_that_multiply_are_refused_in_time() -> None:
    data = workflow()
    base = 1000
    data["nodes"][2]["inputs"][0]["link"] = base
    for step in range(5000):
        data["links"].append([base + step, base + step, 0, base + step - 1, 0, "IMAGE"])
        data["nodes"].append(
            {
                "id": base + step, "type": "Reroute", "outputs": [],
                "inputs": [{"name": "", "type": "*", "link": base + step + 1}],
            }
        )  # fmt: skip
    with pytest.raises(FormatError, match="too many reroutes"):
        read_workflow(data, REGISTRY)
    ids = [f"s{number}" for number in range(25)]
    doubling = [
        {"id": id, "nodes": [{"id": 1, "type": below}, {"id": 2, "type": below}], "links": []}
        for id, below in zip(ids, [*ids[1:], "none"], strict=True)
    ]
    file = {"nodes": [{"id": 1, "type": "s0"}], "definitions": {"subgraphs": doubling}}
    with pytest.raises(FormatError, match="expected at most"):
        read_workflow(file, REGISTRY)


@pytest.mark.parametrize(
    "data",
    [
        {"nodes": [3], "links": []},
        {"nodes": [{"id": 1}], "links": []},
        {"nodes": [{"type": "SaveImage"}], "links": []},
        {"nodes": [{"id": 1, "type": "SaveImage", "inputs": [{"name": "images", "link": 1}]}],
         "links": [[1, 2]]},
    ],
)  # fmt: skip
def test_what_is_no_workflow_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        read_workflow(data, REGISTRY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-30, 99) | st.text(max_size=4) | st.just("*"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type"]), inner)
    ),
    max_leaves=5,
)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of keys to all values inside a JSON value, itself included."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    paths = [path]
    for key, inner in items if isinstance(value, dict | list) else ():
        paths += paths_in(inner, (*path, key)) if isinstance(inner, dict | list) else [(*path, key)]
    return paths


PLAIN = plain(REGISTRY)
OLD = [grouped(PLAIN), proxied(PLAIN), proxied_twice(PLAIN, ["30", "6: denoise"], 0.5)]


@settings(max_examples=600, deadline=None)
@given(kind=st.integers(-1, 2), number=st.integers(0, 10_000), value=JSON)
def test_a_file_that_is_damaged_anywhere_is_read_or_refused(
    kind: int, number: int, value: Any
) -> None:
    data = nested() if kind < 0 else copy.deepcopy(OLD[kind])
    data["nodes"][1]["mode"] = 4 if number % 3 == 0 else 0
    paths = [path for path in paths_in(data) if path]
    *parents, last = paths[number % len(paths)]
    target: Any = data
    for key in parents:
        target = target[key]
    target[last] = value
    try:
        graph = read_workflow(data, REGISTRY)
    except FormatError:
        return
    assert all(isinstance(node.type, str) for node in graph.nodes.values())
