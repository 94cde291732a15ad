"""Files from before an input was renamed load; values of no input are reported, never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, load_graph, parse_graph
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.graph.builder import Builder
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.lint import lint
from tests.engine.fakes import REGISTRY

NATIVE = """
latentloom: 1
nodes:
  n: {node: Number, value: 5}
  s: {node: Scale, a: $n.INT, amount: 3}
  out: {node: Show, value: $s.INT}
"""
PROMPT: dict[str, Any] = {
    "1": {"class_type": "Number", "inputs": {"value": 5}},
    "2": {"class_type": "Scale", "inputs": {"a": ["1", 0], "amount": 3}},
    "3": {"class_type": "Show", "inputs": {"value": ["2", 0]}},
}


def workflow(**values: Any) -> dict[str, Any]:
    """The editor's file of PROMPT with the old name on its socket."""
    file = write_workflow(parse_graph(json.dumps(PROMPT), REGISTRY), REGISTRY)
    scale = next(node for node in file["nodes"] if node["type"] == "Scale")
    scale.update(values)
    return file


OLD_FILES = {
    "native": NATIVE,
    "prompt": json.dumps(PROMPT),
    "editor, by position": json.dumps(workflow()),
    "editor, by name": json.dumps(workflow(widgets_values={"amount": 3})),
    "editor, beside": json.dumps(workflow(widgets_values_named={"amount": 3})),
}


def scale_of(graph: Graph) -> dict[str, Any]:
    (node,) = (node for node in graph.nodes.values() if node.type == "Scale")
    return dict(node.inputs)


@pytest.mark.parametrize("text", OLD_FILES.values(), ids=OLD_FILES.keys())
def test_an_old_file_gives_the_old_result(text: str, engine: Engine, calls: list[str]) -> None:
    graph = parse_graph(text, REGISTRY)
    assert scale_of(graph).keys() == {"a", "times"}
    assert engine.check(graph) == ()
    engine.run(graph)
    assert "Scale 5 3" in calls
    assert lint(graph, REGISTRY, Workspace()) == ()


def test_an_old_socket_stays_linked() -> None:
    file = workflow(widgets_values=[1])
    scale = next(node for node in file["nodes"] if node["type"] == "Scale")
    scale["inputs"].append({"name": "amount", "link": 99, "widget": {"name": "amount"}})
    file["links"].append([99, 1, 0, scale["id"], 1, "INT"])
    inputs = scale_of(parse_graph(json.dumps(file), REGISTRY))
    assert str(inputs["times"]) == "$1.0"


def test_a_file_is_written_with_the_new_name() -> None:
    graph = parse_graph(NATIVE, REGISTRY)
    assert "times: 3" in dump_graph(graph, "yaml", REGISTRY)
    assert json.loads(dump_graph(graph, "comfy", REGISTRY))["s"]["inputs"]["times"] == 3


def test_the_new_name_wins_and_the_old_value_is_reported() -> None:
    inputs = {"a": 1, "amount": 3, "times": 4}
    graph = parse_graph(json.dumps({"2": {"class_type": "Scale", "inputs": inputs}}), REGISTRY)
    assert scale_of(graph) == {"a": 1, "times": 4}
    (warning,) = lint(graph, REGISTRY, Workspace())
    assert (warning.rule, warning.node, warning.port) == ("unknown-input", "2", "amount")


def test_a_native_value_of_no_input_is_refused_with_a_suggestion(engine: Engine) -> None:
    graph = parse_graph(NATIVE.replace("amount", "tims"), REGISTRY)
    (problem,) = engine.check(graph)
    assert (problem.kind, problem.port) == ("unknown_input", "tims")
    assert problem.hint == "did you mean 'times'?"


def test_a_former_name_given_in_python_is_refused_with_the_new_one(engine: Engine) -> None:
    graph = Graph().add("s", "Scale", a=1, amount=2).add("out", "Show", value=1)
    (problem,) = engine.check(graph)
    assert problem.hint == "it is now 'times'"
    with pytest.raises(GraphError, match="it is now 'times'"):
        Builder(REGISTRY).Scale(a=1, amount=2)


def test_a_value_of_no_input_in_a_prompt_is_reported_and_written_again() -> None:
    prompt = {**PROMPT, "2": {"class_type": "Scale", "inputs": {"a": ["1", 0], "tmes": 3}}}
    graph = parse_graph(json.dumps(prompt), REGISTRY)
    (warning,) = lint(graph, REGISTRY, Workspace())
    assert str(warning) == (
        "Scale (2) .tmes: the node has no input 'tmes'; its value 3 is ignored\n"
        "  try:     did you mean 'times'?"
    )
    assert json.loads(dump_graph(graph, "comfy", REGISTRY)) == prompt


@pytest.mark.parametrize("key", ["widgets_values", "widgets_values_named"])
def test_a_named_value_of_no_field_in_an_editors_file_is_reported(key: str) -> None:
    file = workflow(**{key: {"times": 3, "colour": "red", "control_after_generate": "fixed"}})
    graph = parse_graph(json.dumps(file), REGISTRY)
    assert [warning.port for warning in lint(graph, REGISTRY, Workspace())] == ["colour"]


def test_values_beyond_the_fields_of_an_editors_node_are_reported() -> None:
    graph = parse_graph(json.dumps(workflow(widgets_values=[5, 3, 9, "image"])), REGISTRY)
    (warning,) = lint(graph, REGISTRY, Workspace())
    assert (warning.rule, warning.type) == ("unread-values", "Scale")
    assert warning.text.endswith("; ignored: 9")
    assert "unread" not in dump_graph(graph, "comfy", REGISTRY)


def test_a_link_to_no_input_in_an_editors_file_is_reported() -> None:
    file = workflow()
    scale = next(node for node in file["nodes"] if node["type"] == "Scale")
    scale["inputs"].append({"name": "mask", "link": 99})
    file["links"].append([99, 1, 0, scale["id"], 1, "INT"])
    graph = parse_graph(json.dumps(file), REGISTRY)
    (warning,) = lint(graph, REGISTRY, Workspace())
    assert warning.text == "the node has no input 'mask'; its value $1.0 is ignored"


def test_an_image_that_carries_the_old_name_loads(tmp_path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    native = {
        "latentloom": 1,
        "nodes": {"s": {"node": "Scale", "a": 1, "amount": 3}},
    }
    info.add_text("latentloom", json.dumps(native))
    Image.new("RGB", (8, 8)).save(tmp_path / "old.png", pnginfo=info)
    assert scale_of(load_graph(tmp_path / "old.png", REGISTRY)) == {"a": 1, "times": 3}
