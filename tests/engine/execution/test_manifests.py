"""Manifests of runs: what they hold, how they read back, and that keys do not depend on them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.cache.disk import Store
from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats.manifest import (
    MANIFEST_SCHEMA,
    manifest_to_object,
    parse_manifest,
    write_manifest,
)
from latentloom.engine.formats.shape import check_shape
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.ports import Between, Seeded
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.engine.fakes import REGISTRY, graph


@node("Draw", category="test", device=True)
def draw(context: Context, seed: Annotated[int, Between(0, 99), Seeded()] = 0) -> int:
    context.note("sigmas", [2.0, 0.0])
    context.note("sigmas", [2.0, 0.0])
    return seed


@node("Write", category="test", output=True)
def write(value: int, context: Context, name: str = "out.txt") -> Saved:
    path = context.output_dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(context.embedded()))
    return Saved((path,))


ALL = REGISTRY | Registry.of(draw, write)
GRAPH = graph(
    text=("Read", {"path": "note.txt"}),
    seed=("Draw", {"seed": 7}),
    sum=("Add", {"a": "$seed.INT"}),
    unused=("Number", {"value": 5}),
    save=("Write", {"value": "$sum.INT"}),
)


def embedded(
    engine: Engine, graph: Graph, folder: Path, **options: Any
) -> tuple[dict[str, Any], str]:
    """Run a graph; return the manifest in the file that it saves, and the state of its draw."""
    files = Workspace(input_dir=folder, output_dir=folder / "out", **options)
    result = engine.run(graph, files)
    assert result.status == "done"
    texts = json.loads(result.saved[0][1].read_text())
    return json.loads(texts["latentloom_manifest"]), result.nodes["seed"].state


def test_a_manifest_holds_the_nodes_behind_a_file_with_their_values(tmp_path: Path) -> None:
    with Engine(ALL) as engine:
        manifest, _ = embedded(engine, GRAPH, tmp_path)
    assert list(manifest["graph"]["nodes"]) == ["seed", "sum", "save"]
    assert manifest["graph"]["nodes"]["sum"] == {"node": "Add", "a": "$seed.INT", "b": 1}
    assert manifest["seeds"] == {"seed.seed": 7}
    assert manifest["nodes"]["seed"]["notes"] == {"sigmas": [[2.0, 0.0]]}
    assert "seconds" not in manifest["nodes"]["seed"]
    assert manifest["nodes"]["sum"]["outputs"][0] is not None


def test_a_manifest_is_the_same_where_nodes_are_reused(tmp_path: Path) -> None:
    renamed = GRAPH.set("save.name", "other.txt")
    with Engine(ALL, store=Store(tmp_path / "cache", min_seconds=0)) as engine:
        first, _ = embedded(engine, GRAPH, tmp_path)
        second, state = embedded(engine, renamed, tmp_path)
    with Engine(ALL, store=Store(tmp_path / "cache", min_seconds=0)) as engine:
        third, late = embedded(engine, renamed.set("save.name", "third.txt"), tmp_path)
    assert (state, late) == ("skipped", "skipped")
    assert first["nodes"] == second["nodes"] == third["nodes"]


def test_a_file_outside_the_folders_has_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private" / "note.txt"
    secret.write_text("words")
    reading = GRAPH.set("text.path", str(secret))
    with Engine(ALL) as engine:
        files = Workspace(granted=frozenset({secret}), output_dir=tmp_path, writes_manifests=True)
        engine.run(reading.add("show", "Write", value=1, name="a.txt"), files, ["text", "show"])
        engine.run(reading, files, ["save"])
    texts = [path.read_text() for path in tmp_path.glob("*.json")]
    assert len(texts) == 2
    assert not [text for text in texts if str(tmp_path) in text]


def test_the_file_beside_says_the_time_of_each_node(tmp_path: Path) -> None:
    with Engine(ALL) as engine:
        embedded(engine, GRAPH, tmp_path, writes_manifests=True, embeds_graph=True)
    file = tmp_path / "out" / "out.txt.manifest.json"
    manifest = parse_manifest(file.read_text(), ALL)
    assert {node.state for node in manifest.nodes.values()} == {"ran"}
    assert all(node.seconds is not None for node in manifest.nodes.values())


def test_a_manifest_reads_back_and_fits_its_schema(tmp_path: Path) -> None:
    with Engine(ALL) as engine:
        data, _ = embedded(engine, GRAPH, tmp_path)
    check_shape(data, MANIFEST_SCHEMA, "the manifest")
    manifest = parse_manifest(json.dumps(data), ALL)
    assert manifest_to_object(manifest) == data
    assert json.loads(write_manifest(manifest)) == data


def test_without_metadata_there_is_no_manifest(tmp_path: Path) -> None:
    with Engine(ALL) as engine:
        files = Workspace(input_dir=tmp_path, output_dir=tmp_path / "out", embeds_graph=False)
        result = engine.run(GRAPH, files)
    assert json.loads(result.saved[0][1].read_text()) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latentloom_manifest": 2}, "got 2: a later release wrote it"),
        ({"latentloom_manifest": "1"}, "expected `latentloom_manifest: 1`, got '1'"),
        ({"inputs": [{"name": "a", "sha256": "x", "used_by": []}]}, "a SHA-256 of 64 hexadecimal"),
        ({"seeds": {"a.seed": True}}, "seeds, a.seed: expected a whole number"),
        ({"node": "other"}, "expected a node of its graph, got 'other'"),
        ({"graph": {"latentloom": 1, "nodes": {"a": 3}}}, "node a: expected a mapping"),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_the_reason(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with Engine(ALL) as engine:
        data, _ = embedded(engine, GRAPH, tmp_path)
    with pytest.raises(FormatError, match=message):
        parse_manifest(json.dumps(data | change), ALL)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with Engine(ALL) as engine:
        return embedded(engine, GRAPH, tmp_path_factory.mktemp("sound"))[0]


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_manifest_is_read_or_refused(sound: dict[str, Any], data: st.DataObject) -> None:
    damaged = json.loads(json.dumps(sound))
    value: Any = damaged
    while isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(value[key], dict | list):
            value[key] = data.draw(JSON)
            break
        value = value[key]
    with suppress(FormatError):
        manifest = parse_manifest(json.dumps(damaged), ALL)
        assert parse_manifest(write_manifest(manifest), ALL) == manifest
