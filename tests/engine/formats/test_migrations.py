"""Files of earlier releases, and nodes under former names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest

from latentloom import Formerly, migration, node, rename_inputs, rename_options
from latentloom.engine.errors import FormatError, SpecError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import (
    convert_graph,
    dump_graph,
    form_of,
    load_graph,
    parse_graph,
)
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.graph.lint import file_warnings
from latentloom.engine.node.registry import Registry
from latentloom.nodes import registry
from tests.engine.fakes import REGISTRY
from tests.paths import ROOT

RELEASES = ROOT / "tests" / "goldens" / "releases"
OLD_FILES = sorted(RELEASES.glob("*/*.yaml"))


@migration("Multiply", to="Scale", fields=("amount", "rounding"))
def multiply(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    others = {name: value for name, value in inputs.items() if name != "rounding"}
    return rename_inputs(others, amount="times", number="a")


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
    return keys_in(registry(), graph)


def keys_in(nodes: Registry, graph: Graph) -> list[str]:
    folders = Workspace(library_dir=ROOT / "graphs", graph_dir=ROOT / "graphs")
    with Engine(nodes) as engine:
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
    held = graph.nodes[id]
    origin = dict(held.links())["a"]
    assert (held.type, held.inputs["times"], origin.node) == ("Scale", 3, next(iter(graph.nodes)))
    said = [warning for warning in file_warnings(graph, PACK) if warning.node == id]
    assert said[0].rule == "migrated"
    assert "'Multiply' in the file is read as Scale" in said[0].text


def test_values_beyond_the_former_fields_are_reported() -> None:
    held = parse_graph(json.dumps(EDITOR), PACK).nodes["2"]
    assert (dict(held.inputs), held.unread) == ({"a": Link("1", 0), "times": 3}, ("surplus",))


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


@node("Brush", category="test", version=3)
def brush(a: int, shape: str = "circle", size: Annotated[int, Formerly("width")] = 1) -> int:
    """Three versions old: `shape` had the option round, and `size` was half of it."""
    return a * size


@migration("Brush", fields=("a", "shape", "size"), version=1)
def round_is_circle(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return rename_options(inputs, "shape", round="circle")


@migration("Brush", version=2)
def twice_the_size(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**inputs, "size": 2 * inputs.get("size", 1)}


VERSIONED = REGISTRY | Registry.of(multiply, brush, round_is_circle, twice_the_size)
VERSIONED = VERSIONED | registry()
GOLDENS = ROOT / "tests" / "goldens" / "migrations"
FORMER = sorted(GOLDENS.glob("former.*"))
BRUSH = """\
latentloom: 1
nodes:
  n: {node: Number, value: 2}
  b: {node: Brush%s, a: $n.INT, shape: round, size: 4}
"""


def versions_of(id: str, graph: Graph) -> tuple[str, list[str]]:
    """Return the type of a node as it is written, and the rules of the warnings about it."""
    text = dump_graph(graph, "yaml", VERSIONED)
    written = re.search(rf"  {id}: {{node: (\S+),", text)
    assert written is not None
    return written[1], [w.rule for w in file_warnings(graph, VERSIONED) if w.node == id]


@pytest.mark.parametrize("path", FORMER, ids=lambda path: path.name)
def test_former_nodes_are_written_as_present_ones(path: Path) -> None:
    graph = load_graph(path, VERSIONED)
    expected = (GOLDENS / f"present.{path.name.removeprefix('former.')}").read_text()
    form = form_of(path)
    assert convert_graph(graph, form, VERSIONED).text == expected
    again = parse_graph(expected, VERSIONED)
    assert [w.rule for w in file_warnings(again, VERSIONED)] == []
    assert keys_in(VERSIONED, again) == keys_in(VERSIONED, graph)


def test_a_native_file_without_a_version_means_the_first_one() -> None:
    graph = parse_graph(BRUSH % "", VERSIONED)
    assert dict(graph.nodes["b"].inputs) == {"a": Link("n", "INT"), "shape": "circle", "size": 8}
    assert versions_of("b", graph) == ("Brush@3", ["migrated"])
    (warning,) = file_warnings(graph, VERSIONED)
    assert warning.text == "version 1 of the node in the file is read as version 3"


def test_a_migration_starts_at_the_version_of_the_file() -> None:
    graph = parse_graph(BRUSH % "@2", VERSIONED)
    assert (graph.nodes["b"].inputs["shape"], graph.nodes["b"].inputs["size"]) == ("round", 8)
    assert versions_of("b", parse_graph(BRUSH % "@3", VERSIONED)) == ("Brush@3", [])


def test_a_version_that_nothing_replaces_stays_with_a_warning() -> None:
    without = REGISTRY | Registry.of(brush)
    graph = parse_graph(BRUSH % "@2", without)
    assert "node: Brush@2," in dump_graph(graph, "yaml", without)
    (warning,) = file_warnings(graph, without)
    assert "written for version 2 of the node, not 3" in warning.text
    assert warning.hint.endswith("`node: Brush@3`")


def test_a_later_version_stays_with_a_warning() -> None:
    graph = parse_graph(BRUSH % "@7", VERSIONED)
    assert versions_of("b", graph) == ("Brush@7", ["node-version"])
    (warning,) = file_warnings(graph, VERSIONED)
    assert warning.hint == "update the pack that the node comes from"


@pytest.mark.parametrize("form", ["yaml", "json", "comfy", "editor"])
@pytest.mark.parametrize("version", ["@2", "@7"])
def test_the_version_of_a_node_that_is_not_installed_stays(form: str, version: str) -> None:
    graph = parse_graph((BRUSH % version).replace("$n.INT", "1"), REGISTRY)
    again = parse_graph(dump_graph(graph, form, REGISTRY), REGISTRY)
    written = dump_graph(again, "yaml", REGISTRY)
    assert f"node: Brush{version}, " in written
    assert parse_graph(written, REGISTRY).nodes["b" if "b:" in written else "2"].type == "Brush"


@pytest.mark.parametrize("form", ["comfy", "editor"])
def test_comfyuis_files_carry_the_version_and_without_one_mean_the_installed(form: str) -> None:
    text = dump_graph(parse_graph(BRUSH % "@3", VERSIONED), form, VERSIONED)
    assert '"latentloom_version": 3' in text
    stated = text.replace('"latentloom_version": 3', '"latentloom_version": 2')
    graphs = [parse_graph(t, VERSIONED) for t in (text, stated, text.replace("version", "other"))]
    held = [node for graph in graphs for node in graph.nodes.values() if node.type == "Brush"]
    assert [node.inputs["size"] for node in held] == [4, 8, 4]


def test_a_type_with_a_number_behind_an_at_sign_is_read_back() -> None:
    graph = Graph({"n": Node("Odd@2", {"a": 1})})
    text = dump_graph(graph, "yaml", REGISTRY)
    assert "Odd@2@1" in text
    assert parse_graph(text, REGISTRY).nodes["n"].type == "Odd@2"


def test_a_migration_that_fails_is_named() -> None:
    text = (BRUSH % "@2").replace("size: 4", "size: {a: 1}")
    expected = r"node b: the migration of Brush@2 failed with TypeError.*\n  try:     open the file"
    with pytest.raises(FormatError, match=expected):
        parse_graph(text, VERSIONED)


def test_a_node_of_a_part_has_a_version() -> None:
    text = """\
latentloom: 1
parts:
  p: {nodes: {b: {node: Brush@2, a: 1, size: 4}}, outputs: {INT: $b.INT}}
nodes:
  u: {part: p}
"""
    graph = parse_graph(text, VERSIONED)
    written = dump_graph(graph, "yaml", VERSIONED)
    assert "b: {node: Brush@3, a: 1, size: 8}" in written
    assert parse_graph(written, VERSIONED).nodes["u"].inputs["size"] == 8


def test_a_migration_leads_to_something_else() -> None:
    with pytest.raises(SpecError, match="Brush: expected another type, or a former version"):
        migration("Brush")
    with pytest.raises(SpecError, match="Brush@3"):
        migration("Brush", version=3, gives=2)


def test_types_that_replace_each_other_end() -> None:
    first, second = migration("A", to="B")(dict), migration("B", to="A")(dict)
    graph = parse_graph("latentloom: 1\nnodes: {n: {node: A}}", Registry.of(first, second))
    assert graph.nodes["n"].former_type == "A@1"


def test_former_names_in_comfyui_load() -> None:
    prompt = {"1": {"class_type": "T2IAdapterLoader", "inputs": {"t2i_adapter_name": "x.pth"}}}
    held = parse_graph(json.dumps(prompt), registry()).nodes["1"]
    assert (held.type, dict(held.inputs)) == ("ControlNetLoader", {"control_net_name": "x.pth"})
