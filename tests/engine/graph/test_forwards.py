"""Outputs of output nodes that are the value of an input: links lead past the node."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from latentloom.engine.errors import SpecError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.context import Saved
from latentloom.engine.node.ports import Forwards
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.engine import fakes
from tests.engine.fakes import Tinted, graph


@node("SaveTint", category="test", output=True)
def save_tint(tint: Tinted, label: str = "") -> Annotated[Saved, Forwards("tint", "tints")]:
    fakes.note(f"SaveTint {tint}{label}")
    return Saved((), f"saved {tint}")


@node("ShowTint", category="test", output=True)
def show_tint(tint: Tinted) -> str:
    fakes.note(f"ShowTint {tint}")
    return str(tint)


REGISTRY = fakes.REGISTRY | Registry.of(save_tint, show_tint)


def chain(length: int) -> Graph:
    nodes: dict[str, Any] = {"paint": ("Paint", {})}
    for index in range(length):
        origin = f"$save{index - 1}.tints" if index else "$paint.TINT"
        nodes[f"save{index}"] = ("SaveTint", {"tint": origin, "label": str(index)})
    return graph(**nodes, show=("ShowTint", {"tint": f"$save{length - 1}.0"}))


def test_a_link_to_a_saver_gives_what_it_saved_without_running_it() -> None:
    fakes.calls.clear()
    with Engine(REGISTRY) as engine:
        result = engine.run(chain(2), targets=["show"])
    assert result["show"] == "red"
    assert fakes.calls == ["ShowTint red"]


def test_every_saver_of_a_chain_gets_the_value() -> None:
    fakes.calls.clear()
    with Engine(REGISTRY) as engine:
        assert engine.run(chain(3)).status == "done"
    assert sorted(fakes.calls) == [
        "SaveTint red0", "SaveTint red1", "SaveTint red2", "ShowTint red",
    ]  # fmt: skip


def test_a_long_chain_needs_no_deep_stack() -> None:
    with Engine(REGISTRY) as engine:
        assert engine.check(chain(3000)) == ()


def test_the_type_and_family_are_those_of_the_input() -> None:
    built = graph(
        paint=("Paint", {"family": "blue"}),
        save=("SaveTint", {"tint": "$paint.TINT"}),
        add=("Add", {"a": "$save.tints"}),
        red=("Paint", {}),
        mix=("Mix", {"a": "$save.tints", "b": "$red.TINT"}),
    )
    with Engine(REGISTRY) as engine:
        kinds = {(problem.node, problem.kind) for problem in engine.check(built)}
    assert kinds == {("add", "wrong_type"), ("mix", "wrong_family")}


def test_a_fault_of_the_saver_is_reported_once() -> None:
    built = graph(save=("SaveTint", {"tint": 5}), show=("ShowTint", {"tint": "$save.tints"}))
    with Engine(REGISTRY) as engine:
        (problem,) = engine.check(built)
    assert problem.node == "save"


def test_a_string_that_an_output_node_returns_is_shown() -> None:
    texts: list[str] = []
    with Engine(REGISTRY) as engine:
        engine.run(chain(1), on_event=lambda event: texts.append(getattr(event, "text", "")))
    assert {"saved red", "red"} <= set(texts)


def forwards_nothing(a: int) -> Annotated[Saved, Forwards("a")]:
    return Saved(())


def test_only_a_required_edge_can_be_forwarded() -> None:
    with pytest.raises(SpecError, match="not a required edge"):
        node("Wrong", category="test", output=True)(forwards_nothing)
