"""Files of earlier releases, and nodes under former names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, load_graph, parse_graph
from latentloom.engine.graph.graph import Graph, Link
from latentloom.engine.graph.lint import file_warnings
from latentloom.engine.graph.migrations import migration, rename
from latentloom.engine.node.registry import Registry
from latentloom.nodes import registry
from tests.engine.fakes import REGISTRY
from tests.paths import ROOT

RELEASES = ROOT / "tests" / "goldens" / "releases"
OLD_FILES = sorted(RELEASES.glob("*/*.yaml"))


@migration("Multiply", to="Scale", fields=("amount", "rounding"))
def multiply(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    others = {name: value for name, value in inputs.items() if name != "rounding"}
    return rename(others, amount="times", number="a")


PACK = REGISTRY | Registry.of(multiply)
NATIVE = """\
latentloom: 1
parts:
  more:
    inputs: {value: {}}
    nodes:
      m: {node: Multiply, number: '${value}', amount: 3}
    outputs: {value: $m.INT}
nodes:
  n: {node: Number, value: 5}
  s: {node: Multiply, number: $n.INT, amount: 3, rounding: up}
  t: {part: more, value: $s.INT}
"""
PROMPT = {
    "1": {"class_type": "Number", "inputs": {"value": 5}},
    "2": {"class_type": "Multiply", "inputs": {"number": ["1", 0], "amount": 3}},
}
EDITOR = {
    "nodes": [
        {
            "id": 1, "type": "Number", "widgets_values": [5],
            "outputs": [{"name": "INT", "type": "INT", "links": [1]}],
        },
        {
            "id": 2, "type": "Multiply", "widgets_values": [3, "up", "surplus"],
            "inputs": [{"name": "number", "type": "INT", "link": 1}],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "INT"]],
}  # fmt: skip


def keys(graph: Graph) -> list[str]:
    folders = Workspace(library_dir=ROOT / "graphs", graph_dir=ROOT / "graphs")
    with Engine(registry()) as engine:
        return sorted(step.key for step in engine.plan(graph, folders).nodes.values())


@pytest.mark.parametrize("path", OLD_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_of_an_earlier_release_gives_the_same_keys(path: Path) -> None:
    then = load_graph(path.with_suffix(".api.json"), registry())
    now = load_graph(path, registry())
    assert keys(now) == keys(then)
    again = parse_graph(dump_graph(now, "yaml", registry()), registry())
    assert keys(again) == keys(then)


def test_a_file_of_a_later_release_is_refused() -> None:
    with pytest.raises(FormatError, match="a later release wrote the file; update latentloom"):
        parse_graph("latentloom: 2\nnodes: {}")


@pytest.mark.parametrize(
    ("text", "id"), [(NATIVE, "s"), (json.dumps(PROMPT), "2"), (json.dumps(EDITOR), "2")]
)
def test_a_former_node_becomes_the_present_one(text: str, id: str) -> None:
    graph = parse_graph(text, PACK)
    node = graph.nodes[id]
    origin, _ = dict(node.links())["a"], node
    assert (node.type, node.inputs["times"], origin.node) == ("Scale", 3, next(iter(graph.nodes)))
    said = [warning for warning in file_warnings(graph, PACK) if warning.node == id]
    assert said[0].rule == "migrated"
    assert "'Multiply' in the file is read as Scale" in said[0].text


def test_values_beyond_the_former_fields_are_reported() -> None:
    node = parse_graph(json.dumps(EDITOR), PACK).nodes["2"]
    assert (dict(node.inputs), node.unread) == ({"a": Link("1", 0), "times": 3}, ("surplus",))


def test_nodes_of_parts_migrate_too() -> None:
    graph = parse_graph(NATIVE, PACK)
    written = dump_graph(graph, "yaml", PACK)
    assert "Multiply" not in written
    assert parse_graph(written, REGISTRY).nodes["t"].type == "Scale"


def test_without_a_migration_the_node_stays() -> None:
    assert parse_graph(NATIVE, REGISTRY).nodes["s"].type == "Multiply"


def test_an_installed_node_does_not_migrate() -> None:
    @migration("Number", to="Scale")
    def number(_inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        raise AssertionError

    assert parse_graph(NATIVE, REGISTRY | Registry.of(number)).nodes["n"].type == "Number"


def test_former_names_in_comfyui_load() -> None:
    prompt = {"1": {"class_type": "T2IAdapterLoader", "inputs": {"t2i_adapter_name": "x.pth"}}}
    node = parse_graph(json.dumps(prompt), registry()).nodes["1"]
    assert (node.type, dict(node.inputs)) == ("ControlNetLoader", {"control_net_name": "x.pth"})
