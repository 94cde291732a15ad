"""Graph files: what is read back is what was written, and bad files are refused in words."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.formats import dump_graph, load_graph, name_outputs, parse_graph, save_graph
from latentloom.engine.formats.parsing import parse_json, parse_yaml
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from tests.engine.fakes import REGISTRY

SKETCH = """\
latentloom: 1
title: Two passes
inputs:
  strength: {type: float, default: 0.25, min: 0, max: 1}
nodes:
  start: {node: Number, value: 3}
  pass1: {node: Blend, a: $start.INT, weight: '${strength}'}
  show: {node: Show, value: $start.0, note_text: $$5}
"""


def test_the_sketch_reads_as_nodes_links_and_inputs() -> None:
    graph = parse_graph(SKETCH)
    assert graph.title == "Two passes"
    assert graph.inputs["strength"] == GraphInput("float", 0.25, 0, 1)
    assert graph.nodes["pass1"].inputs == {
        "a": Link("start", "INT"),
        "weight": InputRef("strength"),
    }
    assert graph.nodes["show"].inputs == {"value": Link("start", 0), "note_text": "$5"}


def test_a_file_in_our_own_hand_is_written_back_byte_for_byte() -> None:
    assert dump_graph(parse_graph(SKETCH), "yaml", REGISTRY) == SKETCH


def test_a_long_string_is_a_block_literal_that_is_never_folded() -> None:
    words = "a lantern in the rain, " * 20 + "at dusk"
    graph = Graph({"n": Node("Note", {"text": f"{words}\nsecond"})})
    text = dump_graph(graph, "yaml", {})
    assert text == (
        f"latentloom: 1\nnodes:\n  n:\n    node: Note\n    text: |-\n      {words}\n      second\n"
    )


@pytest.mark.parametrize(("value", "written"), [(0.3, "0.3"), (1e-05, "1e-05"), (8.0, "8.0")])
def test_floats_are_written_as_they_are_typed(value: float, written: str) -> None:
    text = dump_graph(Graph({"n": Node("Note", {"x": value})}), "yaml", {})
    assert f"x: {written}}}" in text
    assert parse_graph(text).nodes["n"].inputs == {"x": value}


names = st.text("abcxyz_0", min_size=1, max_size=6)
any_names = (
    names
    | st.text(st.characters(codec="utf-8"), max_size=6)
    | st.sampled_from(["<<", "=", "null", "1", "1.5", "? a", "- a", "a: b", "a" * 200, "#"])
)
literals = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["no", "1e3", "~", "null", "$x", "$$", "0x1F", "2020-01-01", "<<", ".5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
links = st.builds(Link, names, st.integers(0, 5) | st.sampled_from(["IMAGE", "MASK"]))
node_inputs = st.dictionaries(
    any_names | st.sampled_from(["node", "title", "inputs"]),
    literals | links | st.builds(InputRef, names),
    max_size=4,
)
graphs = st.builds(
    Graph,
    st.dictionaries(
        any_names, st.builds(Node, any_names, node_inputs, names | st.just("")), max_size=4
    ),
    st.dictionaries(any_names, st.builds(GraphInput, names, literals), max_size=2),
    st.text(st.characters(codec="utf-8"), max_size=10),
    sweep=st.just({})
    | st.fixed_dictionaries(
        {
            "over": st.dictionaries(
                any_names, st.lists(literals, min_size=1, max_size=2), min_size=1, max_size=2
            )
        },
        optional={"zip": st.booleans(), "best": names},
    ),
    expect=st.dictionaries(
        any_names,
        st.integers(-9, 9)
        | names
        | st.fixed_dictionaries({"like": names, "within": st.floats(0, 9)}),
        max_size=2,
    ),
)


@settings(max_examples=300)
@given(graphs, st.sampled_from(["yaml", "json"]))
@example(Graph(title="a\x85b\u2028c\u2029d\ufeff"), "yaml")
@example(Graph({"n": Node("Note", {"text": "long\x85" * 40})}), "yaml")
@example(Graph({"<<": Node("Note", {"<<": 1, "": 2})}), "yaml")
@example(Graph({"": Node("Note"), "\u2028": Node("Note"), "a" * 200: Node("Note")}), "yaml")
def test_every_graph_is_read_back_as_it_was(graph: Graph, form: str) -> None:
    again = parse_graph(dump_graph(graph, form, {}))
    assert list(again.nodes) == list(graph.nodes)
    assert {id: (n.type, n.title, dict(n.inputs)) for id, n in again.nodes.items()} == {
        id: (n.type, n.title, dict(n.inputs)) for id, n in graph.nodes.items()
    }
    assert dict(again.inputs) == dict(graph.inputs)
    assert again.title == graph.title
    assert again.sweep == graph.sweep
    assert again.expect == graph.expect


@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_graph_or_a_format_error(text: str) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(parse_graph(text), Graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", "anchors and aliases are not allowed"),
        ("a: !!python/object:os.system x", "tags are not allowed"),
        ("a: 1\na: 2", "'a' is given twice (line 2)"),
        ("a: .nan", "expected a finite number"),
        ("a: 99999999999999999999999", "does not fit in 64 bits"),
        ("<<: {a: 1}", "must be a string"),
        ("[" * 20_000, "nested deeper than 64"),
        ("a: [", "line 2"),
        ("a: 1\nb: 1e999", "too large (line 2)"),
        ("1: a\n'1': b", "'1' is given twice (line 2)"),
        ("true: a", "the key at line 1 must be a string"),
        ("a: 1\n---\na: 2", "another document at line 2"),
        ("- 0\n" * 1_000_010, "more than 1000000 values at line 99999"),
    ],
)
def test_unsafe_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_yaml(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"a": ' + "9" * 5000 + "}", "64 bits"),
        ("[" * 100_000, "nested deeper"),
        ('"\\ud800"', "not valid Unicode"),
        ("{} x", "Extra data at line 1"),
        ('{"a": {"b/c": [0, NaN]}}', "at /a/b~1c/1"),
        ('{"a": {"x": 1, "x": 2}}', "given twice at /a/x"),
        ('{"\\udc00": 1}', "a key of / is not valid Unicode"),
        ("NaN", "expected a finite number, got NaN at /"),
    ],
)
def test_unsafe_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_json(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"a": "' + '\\"' * 1_000_000, '["' + "x" * 10_000_000 + '"]', '"\\' * 1_000_000]
)
def test_the_time_to_look_for_brackets_is_linear_in_any_text(text: str) -> None:
    """A pattern that goes back takes hours for the first of these."""
    started = time.process_time()
    with contextlib.suppress(FormatError):
        parse_json(text)
    assert time.process_time() - started < 5


def test_yaml_1_1_surprises_are_texts() -> None:
    assert parse_yaml("[no, yes, on, 2020-01-01, 0x1F, 1_000]") == [
        "no", "yes", "on", "2020-01-01", "0x1F", "1_000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("  a: 5", "node a: expected a mapping"),
        ("  a: {value: 1}", "node a: expected a mapping with `node: <type>`"),
        (
            "  a: {node: Number, value: $x}",
            "expected $node.OUTPUT or ${input}, got '$x'",
        ),
        ("  a: {node: Number, title: 5}", "title: expected a string"),
    ],
)
def test_a_wrong_part_is_named(nodes: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_graph(f"latentloom: 1\nnodes:\n{nodes}\n")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "5", "{}", "[]", "a: 1", "latentloom: 2\nnodes: {}", "latentloom: true\nnodes: {}"],
)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_graph(text)


PROMPT: dict[str, Any] = {
    "3": {"class_type": "Number", "inputs": {"value": 3, "upload": "image"}},
    "19:7": {
        "class_type": "Show",
        "inputs": {"value": ["3", 0], "note_text": "$5"},
        "_meta": {"title": "Result"},
    },
}


def test_comfyui_prompts_run_as_they_are(engine: Engine) -> None:
    graph = parse_graph(json.dumps(PROMPT), REGISTRY)
    assert engine.run(graph)["19:7"] == 3
    assert graph.nodes["3"].inputs == {"value": 3}
    assert graph.nodes["19:7"].title == "Result"


@pytest.mark.parametrize(
    ("type", "name", "given", "taken"),
    [
        ("Number", "value", "17", 17),
        ("Number", "value", "many", "many"),
        ("Blend", "weight", " 0.5 ", 0.5),
        ("Show", "note_text", 5, "5"),
        ("Pick", "first", 1, True),
        ("Pick", "first", 2, 2),
    ],
)
def test_values_of_a_prompt_are_converted_as_comfyui_converts_them(
    type: str, name: str, given: Any, taken: Any
) -> None:
    text = json.dumps({"1": {"class_type": type, "inputs": {name: given}}})
    assert parse_graph(text, REGISTRY).nodes["1"].inputs[name] == taken


def test_a_graph_goes_to_comfyui_and_back() -> None:
    text = dump_graph(parse_graph(SKETCH), "comfy", REGISTRY)
    data = json.loads(text)
    assert data["pass1"]["inputs"] == {"a": ["start", 0], "weight": 0.25}
    assert data["show"]["inputs"]["note_text"] == "$5"
    assert parse_graph(text, REGISTRY).nodes["pass1"].inputs["a"] == Link("start", 0)


def test_a_prompt_is_read_as_clients_send_it_too() -> None:
    prompt = {"1": {"class_type": "Show", "inputs": {"value": 3}}}
    sent = {"prompt": prompt, "client_id": "x", "extra_data": {}}
    assert parse_graph(json.dumps(sent), REGISTRY) == parse_graph(json.dumps(prompt), REGISTRY)


def test_outputs_that_comfyui_counts_are_named_in_our_own_format() -> None:
    text = json.dumps(
        {
            "1": {"class_type": "Halve", "inputs": {"a": 7}},
            "2": {"class_type": "Add", "inputs": {"a": ["1", 0], "b": ["1", 1]}},
            "3": {"class_type": "Show", "inputs": {"value": ["1", 9]}},
            "4": {"class_type": "Elsewhere", "inputs": {"value": ["4", 0]}},
        }
    )
    written = dump_graph(name_outputs(parse_graph(text, REGISTRY), REGISTRY), "yaml", REGISTRY)
    assert "{node: Add, a: $1.quotient, b: $1.remainder}" in written
    assert "{node: Show, value: $1.9}" in written
    assert "{node: Elsewhere, value: $4.0}" in written
    prompt = json.loads(dump_graph(parse_graph(written, REGISTRY), "comfy", REGISTRY))
    assert prompt["2"]["inputs"] == {"a": ["1", 0], "b": ["1", 1]}


def test_what_comfyui_ignores_is_written_again() -> None:
    prompt = {
        "1": {
            "class_type": "Number",
            "inputs": {"value": 3, "upload": "image"},
            "is_changed": ["x"],
            "_meta": {"title": "T", "cnr_id": "core"},
        },
        "2": {"class_type": "Curve", "inputs": {"c": {"__type__": "CURVE", "__value__": [[0, 0]]}}},
    }
    text = dump_graph(parse_graph(json.dumps(prompt), REGISTRY), "comfy", REGISTRY)
    assert json.loads(text) == prompt


prompt_inputs = st.dictionaries(any_names, literals | st.builds(Link, names, st.integers(0, 5)))
prompt_nodes = st.builds(Node, any_names, prompt_inputs, names | st.just(""))


@given(st.dictionaries(any_names, prompt_nodes, min_size=1, max_size=3).map(Graph))
@example(Graph({"n": Node("A", {"x": {"__value__": ["a", 1]}, "y": [["a", 1]]})}))
def test_every_graph_is_read_back_from_comfyuis_form(graph: Graph) -> None:
    assert parse_graph(dump_graph(graph, "comfy", {})) == graph


@pytest.mark.parametrize(
    ("id", "value"),
    [
        ("a b", Link("a b", 0)),
        ("$a", Link("$a", 0)),
        ("{a}", Link("{a}", 0)),
        ("a", Link("a", "X.Y")),
        ("a", Link("a", "3")),
        ("a", Link("a", -1)),
        ("a", InputRef("a}b")),
        ("a", [Link("a", 0)]),
        ("a", float("nan")),
        ("a", "\ud800"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(id: str, value: Any) -> None:
    graph = Graph({id: Node("Number"), "user": Node("Show", {"value": value})})
    with pytest.raises(FormatError):
        dump_graph(graph, "yaml", REGISTRY)


@pytest.mark.parametrize("value", [InputRef("missing"), float("inf"), "\udfff", [Link("a", 0)]])
def test_what_a_prompt_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(FormatError):
        dump_graph(Graph({"user": Node("Show", {"value": value})}), "comfy", REGISTRY)


def test_a_path_is_written_as_a_name() -> None:
    inputs = {"near": Path("inputs/a.png"), "far": Path("/home/someone/b.png").absolute()}
    again = parse_graph(dump_graph(Graph({"n": Node("Any", inputs)}), "yaml", {}))
    assert again.nodes["n"].inputs == {"near": "inputs/a.png", "far": "b.png"}


def test_list_values_are_wrapped() -> None:
    text = dump_graph(Graph({"n": Node("Any", {"v": ["a", 1]})}), "comfy", {})
    assert json.loads(text)["n"]["inputs"]["v"] == {"__value__": ["a", 1]}
    assert parse_graph(text).nodes["n"].inputs["v"] == ("a", 1)


def test_an_unknown_index_is_a_format_error() -> None:
    graph = Graph({"a": Node("Unknown"), "b": Node("Show", {"value": Link("a", "OUT")})})
    with pytest.raises(FormatError, match=r"Show \(b\) \.value"):
        dump_graph(graph, "comfy", REGISTRY)


def test_the_editors_format_is_read() -> None:
    text = '{"nodes": [{"id": 1, "type": "Number", "widgets_values": [4]}], "links": []}'
    assert parse_graph(text, REGISTRY).nodes["1"].inputs == {"value": 4}


@pytest.mark.parametrize("name", ["g.yaml", "g.json", "g.api.json"])
def test_the_ending_chooses_the_form(tmp_path: Path, name: str) -> None:
    save_graph(parse_graph(SKETCH).bound(), tmp_path / name, REGISTRY)
    assert load_graph(tmp_path / name).nodes["pass1"].inputs["weight"] == 0.25


def test_an_unknown_extension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected extension"):
        save_graph(Graph(), tmp_path / "g.txt", REGISTRY)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        ("\n<!DOCTYPE html><title>Log in</title>", "a web page"),
    ],
)
@pytest.mark.parametrize("extension", ["yaml", "json"])
def test_what_a_download_left_in_place_of_a_graph_is_named(
    text: str, got: str, extension: str, tmp_path: Path
) -> None:
    (tmp_path / f"graph.{extension}").write_text(text)
    with pytest.raises(FormatError, match=f"graph.{extension}: expected a graph, got {got}"):
        load_graph(tmp_path / f"graph.{extension}")
