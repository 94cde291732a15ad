"""Nodes for text, numbers and logic compared with ComfyUI 0.33, as prompts that run."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
import torch

import latentloom
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.formats.comfy_prompt import read_prompt
from latentloom.engine.node.ports import ANY, Socket
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes.ports import Sigmas
from tests.golden_files import Goldens
from tests.paths import ROOT

FOLDER = ROOT / "tests" / "goldens" / "nodes"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "value_nodes.json").read_text("utf-8"))
AnyValue = Annotated[Any, Socket(ANY)]
dumped: dict[str, Any] = {}


@node("ParityDumpValue", category="test", output=True)
def dump_value(value: AnyValue, name: str) -> None:
    dumped[name] = {"value": value}


@node("ParityDumpValueList", category="test", output=True)
def dump_values(value: list[AnyValue], name: list[str]) -> None:
    dumped[name[0]] = {"values": value}


@node("ParityDumpSigmas", category="test", output=True)
def dump_sigmas(sigmas: Sigmas, name: str) -> None:
    dumped[name] = sigmas


REGISTRY = latentloom.registry() | Registry.of(dump_value, dump_values, dump_sigmas)


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine(REGISTRY, workers=1) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_node_gives_the_reference_value(case: dict[str, Any], engine: Engine) -> None:
    dumped.clear()
    engine.cache.clear()
    graph = read_prompt(case["workflow"], REGISTRY)
    if case.get("fails") == "validate":
        with pytest.raises(GraphError):
            engine.run(graph)
        return
    result = engine.run(graph)
    assert result.status == ("failed" if "fails" in case else "done")
    for name, tensors in case.get("outputs", {}).items():
        expected = Goldens("nodes/value_nodes.safetensors")[name]
        assert list(expected.shape) == tensors["shape"]
        (sigmas,) = dumped.values()
        torch.testing.assert_close(sigmas, expected, rtol=1e-6, atol=0)
    expected_values = case.get("values", {})
    assert {name: dumped[name] for name in expected_values} == expected_values
    types = {name: type(dumped[name].get("value")) for name in expected_values}
    assert types == {name: type(value.get("value")) for name, value in expected_values.items()}
