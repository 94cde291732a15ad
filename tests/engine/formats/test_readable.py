"""Files of ComfyUI, converted to YAML that a person would write."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentloom.engine.formats import (
    dump_graph,
    load_graph,
    name_outputs,
    parse_graph,
    readable,
    yaml_text,
)
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.formats.losses import losses
from latentloom.engine.formats.parsing import parse_yaml
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.node.registry import Registry
from tests.cli.commands import run
from tests.engine.formats.test_comfy_editor import shape

REGISTRY = Registry.from_package("latentloom.nodes")
GRAPHS = sorted((graphs_dir() or Path()).glob("*.yaml"))


def converted(data: dict[str, Any]) -> Graph:
    """The graph of a file of ComfyUI, as `convert` writes it."""
    return readable(name_outputs(parse_graph(json.dumps(data), REGISTRY), REGISTRY))


def editor_file(name: str) -> dict[str, Any]:
    path = next(path for path in GRAPHS if path.stem == name)
    file = write_workflow(load_graph(path, REGISTRY), REGISTRY)
    for node in file["nodes"]:
        node.pop("title", None)
    del file["extra"]["latentloom"]
    return file


def test_nodes_are_named_by_role_and_type_in_order() -> None:
    graph = converted(editor_file("img2img"))
    assert list(graph.nodes) == [
        "checkpoint", "image", "positive", "negative", "encode", "sample", "decode", "save",
    ]  # fmt: skip
    assert graph.nodes["sample"].inputs["negative"] == Link("negative", "CONDITIONING")


def test_a_title_names_its_node_and_equal_names_are_numbered() -> None:
    file = editor_file("multi_pass")
    for node in file["nodes"]:
        if node["type"] == "VAEDecode":
            node["title"] = "Final Décode!"
    assert [id for id in converted(file).nodes if "code" in id or "sample" in id] == [
        "encode", "sample", "sample_2", "sample_3", "final_décode",
    ]  # fmt: skip


def test_names_of_a_person_stay() -> None:
    prompt = {
        "my image": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "4:7": {"class_type": "ImageInvert", "inputs": {"image": ["my image", 0]}},
        "9": {"class_type": "ImageInvert", "inputs": {"image": ["4:7", 0]}},
    }
    assert list(converted(prompt).nodes) == ["my image", "image_invert", "image_invert_2"]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_same_runs_under_the_new_names(path: Path) -> None:
    file = write_workflow(load_graph(path, REGISTRY), REGISTRY)
    graph = name_outputs(parse_graph(json.dumps(file), REGISTRY), REGISTRY)
    text = dump_graph(readable(graph), "yaml", REGISTRY)
    again = parse_graph(text, REGISTRY)
    assert sorted(map(str, shape(again.bound()))) == sorted(map(str, shape(graph)))
    assert dump_graph(again, "yaml", REGISTRY) == text


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_names_inputs_and_title_stay_in_a_file_of_the_editor(path: Path) -> None:
    graph = load_graph(path, REGISTRY)
    again = converted(write_workflow(graph, REGISTRY))
    assert diff(*comparable(graph, again, REGISTRY)).changes == ()
    assert again.nodes.keys() == graph.nodes.keys()
    for id, node in name_outputs(graph, REGISTRY).nodes.items():
        assert node.inputs.items() <= again.nodes[id].inputs.items()
    assert (again.inputs, again.title) == (graph.inputs, graph.title)
    assert "latentloom" not in dump_graph(again, "yaml", REGISTRY).partition("\n")[2]
    assert losses(graph, "editor") == []


NATIVE = """
latentloom: 1
inputs:
  seed: {type: int, default: 3, description: Of both.}
  cfg: {type: float, default: [4.0, 5.0]}
nodes:
  a: {node: KSampler, seed: '${seed}', cfg: '${cfg[0]}'}
  b: {node: KSampler, seed: '${seed}', cfg: '${cfg[1]}', latent_image: $a.LATENT}
"""


def test_values_that_the_editor_changed_are_the_defaults_of_inputs() -> None:
    file = write_workflow(parse_graph(NATIVE, REGISTRY), REGISTRY)
    for node in file["nodes"]:
        node["widgets_values"][0], node["widgets_values"][3] = 8, 7.5
    graph = converted(file)
    seed, cfg = graph.inputs["seed"], graph.inputs["cfg"]
    assert (seed.default, seed.description, cfg.default) == (8, "Of both.", (7.5, 7.5))
    file["nodes"][1]["widgets_values"][0] = 9
    graph = converted(file)
    assert list(graph.inputs) == ["cfg"]
    assert [node.inputs["seed"] for node in graph.nodes.values()] == [8, 9]


def test_a_node_that_the_editor_added_takes_no_name_of_another() -> None:
    file = write_workflow(parse_graph(NATIVE.replace("b:", "sample:"), REGISTRY), REGISTRY)
    node = {"id": 9, "type": "KSampler", "inputs": [], "outputs": []}
    file["nodes"].insert(0, node)
    assert sorted(converted(file).nodes) == ["a", "sample", "sample_2"]


@pytest.mark.parametrize(
    "marks",
    [
        3, {"names": 3, "title": 4, "inputs": []}, {"names": {"1": "$x y", "2": 7}},
        {"names": {"1": "a", "2": "a", "99": "c"}},
        {"inputs": {"seed": 4, "$": {"type": "int"}}},
        {"inputs": {"x": {"type": "int", "for": [["1", "steps"], ["1", "seed", True]]}}},
        {"inputs": {"x": {"type": "int", "for": [["1", 3, 5], ["1", "seed", 4]]}}},
        {"inputs": {"x": {"type": 3, "for": 3}, "y": {"type": "int", "min": "a"}}},
    ],
)  # fmt: skip
def test_a_damaged_note_on_a_native_graph_is_passed_over(marks: Any) -> None:
    file = write_workflow(parse_graph(NATIVE, REGISTRY), REGISTRY)
    file["extra"]["latentloom"] = marks
    graph = converted(file)
    assert graph.inputs == {}
    again = parse_graph(dump_graph(graph, "yaml", REGISTRY), REGISTRY)
    assert again.nodes.keys() == graph.nodes.keys()
    assert len(graph.nodes) == 2


def test_the_order_of_nodes_in_the_file_does_not_change_the_names() -> None:
    file = editor_file("multi_pass")
    expected = set(converted(file).nodes)
    random.Random(3).shuffle(file["nodes"])
    assert set(converted(file).nodes) == expected


def test_one_changed_word_is_one_changed_line() -> None:
    words = ["lantern"] * 80
    before = Graph({"n": Node("CLIPTextEncode", {"text": " ".join(words) + "\nsecond line"})})
    after = before.set("n.text", " ".join([*words[:-1], "lamp"]) + "\nsecond line")
    lines = [dump_graph(graph, "yaml", {}).splitlines() for graph in (before, after)]
    assert len(lines[0]) == len(lines[1])
    assert sum(old != new for old, new in zip(*lines, strict=True)) == 1


def test_a_note_is_the_description_and_goes_back_to_the_editor() -> None:
    note = {"id": 5, "type": "MarkdownNote", "pos": [7, 8], "widgets_values": ["# How\nso"]}
    other = {"id": 6, "type": "Note", "title": "more", "pos": [1, 2], "widgets_values": ["b"]}
    image = {"id": 1, "type": "LoadImage", "pos": [3, 4], "widgets_values": ["a.png", "image"]}
    graph = converted({"nodes": [note, image, other], "links": []})
    assert graph.description == "# How\nso"
    text = dump_graph(graph, "yaml", REGISTRY)
    assert text.count("# How") == 1
    file = json.loads(dump_graph(parse_graph(text, REGISTRY), "editor", REGISTRY))
    notes = {node["type"]: node for node in file["nodes"] if "Note" in node["type"]}
    assert notes["MarkdownNote"]["widgets_values"] == ["# How\nso"]
    assert notes["MarkdownNote"]["pos"] == [7, 8]
    assert (notes["Note"]["title"], notes["Note"]["widgets_values"]) == ("more", ["b"])
    assert [loss.text for loss in losses(parse_graph(text, REGISTRY), "editor")] == []


def test_convert_writes_readable_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "w.json", tmp_path / "w.yaml"
    source.write_text(json.dumps(editor_file("img2img")))
    assert run(capsys, "convert", source, target)[0] == 0
    text = target.read_text()
    assert "  negative: {node: CLIPTextEncode, text: '', clip: $checkpoint.CLIP}\n" in text
    assert "    sample: {pos: [760, 0], size: [300, 326]}\n" in text


words = st.text(alphabet=st.sampled_from("aYno_./$-1e"), max_size=6) | st.sampled_from(
    ["null", "True", "off", "y", "1e3", "0x1F", "-", "._", "$a.b", "1_000", "12:30", "=", "~"]
)
simple = st.recursive(
    words
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(simple)
def test_simple_values_are_written_as_the_library_writes_them(value: Any) -> None:
    text = yaml_text._plain(value)
    options: Any = {"default_flow_style": True, **yaml_text._OPTIONS}
    written = yaml.dump([value], Dumper=yaml_text._Dumper, **options).strip()
    assert text is None or f"[{text}]" == written


lines = st.text(alphabet=st.sampled_from("ab: #|-\n\t '\"{}[]\\\x85\u2028é"), max_size=90)


@settings(max_examples=300)
@example(":\n:\n\n", {})
@example("\n", {"": ["\n\n"]})
@given(lines, st.dictionaries(st.text(max_size=4), lines | st.lists(lines, max_size=2), max_size=3))
def test_any_text_is_read_back(text: str, layout: dict[str, Any]) -> None:
    graph = Graph({"n": Node("Note", {"text": text, "more": [text]})}, layout=layout)
    again = parse_graph(dump_graph(graph, "yaml", {}))
    assert (again, again.layout) == (graph, layout)


@pytest.mark.parametrize("value", ["1\n\xa0", "\xa0\nb", "a\n\n b\n", "x" * 70 + " \ny", "#\n'"])
def test_odd_blocks_are_read_back(value: str) -> None:
    file = {"latentloom": 1, "nodes": {"": value, "a": {"b": value, "57": [value]}}}
    assert parse_yaml(yaml_text.as_yaml(file)) == file
