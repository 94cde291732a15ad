"""Passes of a single node: `repeat: <type>`, without a part."""

from __future__ import annotations

from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.formats import dump_graph, name_outputs, parse_graph
from latentloom.engine.formats.editing import edit_yaml
from latentloom.engine.graph.graph import Graph, InputRef, Link
from latentloom.engine.graph.merge import merge
from tests.engine.fakes import REGISTRY

FILE = """\
latentloom: 1
inputs:
  amounts: {type: int, default: [1, 2, 3]}
nodes:
  start: {node: Number, value: 10}
  # Each adds to the one before.
  pass: {repeat: Add, over: {b: '${amounts}'}, carry: a, a: $start.INT}
  show: {node: Show, value: $pass.INT}
  middle: {node: Show, value: $pass2.INT}
"""


def read(text: str) -> Graph:
    return parse_graph(text, REGISTRY)


def written(graph: Graph, form: str = "yaml") -> str:
    return dump_graph(graph, form, REGISTRY)


def shown(graph: Graph) -> Any:
    with Engine(REGISTRY) as engine:
        return engine.run(graph)["show"]


def test_passes_of_a_node_are_nodes_in_a_row() -> None:
    graph = read(FILE)
    assert list(graph.nodes) == ["start", "pass1", "pass2", "pass3", "show", "middle"]
    assert graph.nodes["pass2"].inputs == {"b": InputRef("amounts", 1), "a": Link("pass1", "INT")}
    assert shown(graph) == 16


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_they_are_written_as_they_were_read(form: str) -> None:
    graph = read(FILE)
    text = written(graph, form)
    again = read(text)
    assert (again.nodes, again.passes, again.parts) == (graph.nodes, graph.passes, graph.parts)
    assert "parts" not in text
    assert "$pass.INT" in text


def test_outputs_may_be_named_by_index() -> None:
    assert "value: $pass.INT" in written(name_outputs(read(FILE.replace(".INT", ".0")), REGISTRY))


def test_the_list_sets_their_number_and_one_or_all_are_set() -> None:
    graph = read(FILE).set_input("amounts", [5, 6])
    assert shown(graph.remove("middle")) == 21
    changed = read(FILE).set("pass2.b", 9)
    assert "over: {b: ['${amounts[0]}', 9, '${amounts[2]}']}" in written(changed)
    assert shown(changed) == 23


def test_an_input_without_a_value_is_set_in_all_passes() -> None:
    text = FILE.replace("over: {b: '${amounts}'}, ", "over: {a: [1, 2]}, ").replace(
        "carry: a, a: $start.INT", "carry: []"
    )
    graph = read(text).set("pass.b", 7)
    assert [graph.nodes[f"pass{n}"].inputs["b"] for n in (1, 2)] == [7, 7]
    again = read(written(graph))
    assert again.nodes == graph.nodes


def test_a_pass_that_does_not_continue_the_one_before_is_a_node_of_its_own() -> None:
    graph = read(FILE).set("pass3.a", 4)
    text = written(graph)
    assert "pass3: {node: Add, a: 4, b: '${amounts[2]}'}" in text
    assert "repeat" not in text
    assert read(text).nodes == graph.nodes


def test_a_value_is_changed_in_the_file() -> None:
    text = edit_yaml(FILE, read(FILE), {"pass2.b": 8, "start.value": 1})
    assert "default: [1, 8, 3]" in text
    assert "# Each adds" in text
    assert shown(read(text)) == 13


def test_the_output_that_is_carried_may_be_named() -> None:
    text = FILE.replace("carry: a", "carry: {a: INT}")
    assert read(text).nodes == read(FILE).nodes
    with pytest.raises(FormatError, match=r"pass, carry, a: expected an output of Add \(INT\)"):
        read(text.replace("{a: INT}", "{a: FLOAT}"))


@pytest.mark.parametrize("carry", ["a", "{a: sum}", "[a, b]", "{a: sum, b: rest}"])
@pytest.mark.parametrize("type_name", ["Unheard", "Unheard@3"])
def test_a_node_that_is_not_installed_stays(carry: str, type_name: str) -> None:
    text = FILE.replace("repeat: Add", f"repeat: {type_name}").replace(
        "carry: a", f"carry: {carry}"
    )
    text = text.replace("over: {b: '${amounts}'}", "over: {c: '${amounts}'}, b: 1")
    graph = read(text)
    assert graph.nodes["pass2"].type == "Unheard"
    again = written(graph)
    assert f"repeat: {type_name}" in again
    assert f"carry: {carry}" in again
    assert read(again).nodes == graph.nodes


def test_comfyuis_forms_have_the_nodes_one_by_one() -> None:
    for form in ("comfy", "editor"):
        assert written(read(FILE), form).count('"Add"') >= 3


PART = (
    "parts:\n  more: {inputs: {a: {}}, nodes: {n: {node: Add, a: '${a}'}}, outputs: {a: $n.INT}}\n"
)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{repeat: mores, over: {a: [1]}}", r"expected a part of the file \(more\), got mores"),
        ("{repeat: more, over: {a: [1, 2]}, carry: {a: INT}}", "carry: expected inputs whose name"),
        ("{repeat: Add, carry: {a: 3}}", "carry: expected an input, a list of inputs, or"),
        ("{repeat: Add, carry: a}", "lists of 1 to 1000 values, got 0 values"),
        ("{repeat: Show, over: {x: [1]}, carry: {value: x}}", "expected an output of Show"),
    ],
)
def test_what_cannot_be_repeated_is_named(entry: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(f"latentloom: 1\n{PART}nodes:\n  pass: {entry}\n")


def test_a_node_is_repeated_inside_a_part() -> None:
    text = """\
latentloom: 1
parts:
  sum:
    inputs: {value: {}}
    nodes:
      pass: {repeat: Add, over: {b: [1, 2]}, carry: a, a: '${value}'}
    outputs: {value: $pass.INT}
nodes:
  n: {node: Number, value: 4}
  use: {part: sum, value: $n.INT}
  show: {node: Show, value: $use.value}
"""
    graph = read(text)
    assert shown(graph) == 7
    assert read(written(graph)).nodes == graph.nodes


def test_a_merge_of_another_number_and_another_value_keeps_the_passes() -> None:
    base = read(FILE.replace("  middle: {node: Show, value: $pass2.INT}\n", ""))
    fewer, changed = base.set_input("amounts", [4, 5]), base.set("start.value", 1)
    for ours, theirs in ((fewer, changed), (changed, fewer)):
        merged = merge(base, ours, theirs)
        assert merged.conflicts == ()
        assert "  pass: {repeat: Add, over: {b: '${amounts}'}, carry: a" in written(merged.graph)
        assert shown(merged.graph) == 10
