"""The schema of native files knows the installed nodes, and holds for the shipped graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.formats.parsing import parse_yaml
from latentloom.engine.formats.schema import native_schema
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.node.registry import Registry
from tests.engine.fakes import REGISTRY as FAKES

REGISTRY = Registry.from_package("latentloom.nodes")
GRAPHS = sorted((graphs_dir() or Path()).glob("*.yaml"))


def node(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = native_schema(REGISTRY)["$defs"][f"node {name}"]
    return schema


def test_a_node_has_its_inputs_with_ranges_options_and_defaults() -> None:
    inputs = node("KSampler")["properties"]
    literal, link = inputs["denoise"]["anyOf"]
    assert literal == {"type": "number", "minimum": 0.0, "maximum": 1.0}
    assert link["pattern"] == r"^\$[^$]"
    assert "euler" in inputs["sampler_name"]["anyOf"][0]["enum"]
    assert inputs["model"]["pattern"] == r"^\$[^$]"
    assert {"model", "positive", "latent_image"} <= set(node("KSampler")["required"])
    assert node("KSampler")["additionalProperties"] is False


def test_former_names_are_known() -> None:
    scale = native_schema(FAKES)["$defs"]["node Scale"]["properties"]
    assert scale["amount"] == scale["times"]


def test_every_reference_leads_to_a_definition() -> None:
    schema = native_schema(REGISTRY)
    entry = schema["$defs"]["entry"]
    names = {choice["then"]["$ref"].removeprefix("#/$defs/") for choice in entry["allOf"]}
    assert names <= schema["$defs"].keys()
    assert names == {f"node {name}" for name in REGISTRY}


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_shipped_graphs_use_what_the_schema_knows(path: Path) -> None:
    file = parse_yaml(path.read_text())
    schema = native_schema(REGISTRY)
    assert file.keys() <= schema["properties"].keys()
    entries = [entry for entry in file["nodes"].values() if "node" in entry]
    unknown = [
        (entry["node"], key)
        for entry in entries
        for key in entry
        if key not in schema["$defs"][f"node {entry['node']}"]["properties"]
    ]
    assert unknown == []
