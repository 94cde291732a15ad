"""A node's signature is its only declaration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from latentloom.engine.errors import SpecError
from latentloom.engine.node.context import Context
from latentloom.engine.node.ports import Between, Formerly, Lazy, Socket, accepts
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import MISSING, NodeSpec, node, spec_of
from tests.engine import fakes


def spec(name: str) -> NodeSpec:
    return fakes.REGISTRY[name]


def test_ports_come_from_the_signature() -> None:
    port = spec("Blend").port("weight")
    assert port is not None
    assert (port.type, port.default, port.between) == ("FLOAT", 0.5, Between(0.0, 1.0, 0.01))


def test_a_literal_type_is_a_combo() -> None:
    port = spec("Blend").port("mode")
    assert port is not None
    assert (port.type, port.options(), port.default) == ("COMBO", ("mean", "max"), "mean")


def test_a_former_name_leads_to_the_present_one() -> None:
    scale = spec("Scale")
    assert scale.current_name("amount") == scale.current_name("times") == "times"
    assert scale.current_name("nothing") is None
    assert scale.current_names({"a": 1, "amount": 2, "z": 3}) == {"a": 1, "times": 2, "z": 3}
    assert scale.current_names({"amount": 2, "times": 3}) == {"amount": 2, "times": 3}


def test_an_input_without_a_default_is_required() -> None:
    port = spec("Add").port("a")
    assert port is not None
    assert port.default is MISSING
    assert port.is_required


def test_tooltips_come_from_the_docstring() -> None:
    port = spec("Add").port("a")
    assert port is not None
    assert port.tooltip == "the first, on two lines."


def test_outputs_are_named_by_type_or_by_field() -> None:
    assert [output.name for output in spec("Add").outputs] == ["INT"]
    assert [output.name for output in spec("Halve").outputs] == ["quotient", "remainder"]


def test_an_output_is_found_by_name_and_by_index() -> None:
    assert spec("Halve").output_index("remainder") == 1
    assert spec("Halve").output_index(0) == 0
    assert spec("Halve").output_index(2) is None


def test_the_context_is_not_an_input() -> None:
    assert spec("Wait").hidden == "context"
    assert spec("Wait").port("context") is None


def test_a_socket_carries_its_family() -> None:
    port = spec("Mix").port("extra")
    assert port is not None
    assert port.family
    assert port.optional
    assert not port.is_required


def unannotated(a) -> int:  # type: ignore[no-untyped-def]
    return 0


def starred(*a: int) -> int:
    return 0


def outside(a: Annotated[int, Between(0, 5)] = 6) -> int:
    return a


def unknown(a: Any) -> int:
    return 0


def none_default(a: int = None) -> int:  # type: ignore[assignment]  # noqa: RUF013
    return a


def edge_default(a: Annotated[int, Socket("TINT")] = 5) -> int:
    return a


def not_in_list(a: Literal["x", "y"] = "z") -> int:  # type: ignore[assignment]
    return 0


def taken(a: int, b: Annotated[int, Formerly("a")]) -> int:
    return a


def no_return(a: int):  # type: ignore[no-untyped-def]
    return a


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unannotated, "input a: it has no type annotation"),
        (starred, "name each input"),
        (outside, "its default 6 is outside 0 to 5"),
        (unknown, "is not a port type"),
        (none_default, "`X | None`"),
        (edge_default, "can only default to None"),
        (not_in_list, "'z' is not one of its choices"),
        (no_return, "no return annotation"),
        (taken, "input b: its former name a is in use"),
    ],
)
def test_a_wrong_declaration_fails_with_a_plain_message(function: Any, message: str) -> None:
    with pytest.raises(SpecError, match="node Wrong") as caught:
        node("Wrong", category="test")(function)
    assert message in str(caught.value)


def lazy(a: Annotated[int, Lazy()]) -> int:
    return a


def test_lazy_inputs_need_a_needs_method() -> None:
    with pytest.raises(SpecError, match="lazy inputs need"):
        node("Wrong", category="test")(lazy)


def test_two_nodes_of_one_name_are_refused() -> None:
    def other(context: Context) -> int:
        return 0

    with pytest.raises(SpecError, match="two nodes are named Add"):
        Registry.of(fakes.add, node("Add", category="test")(other))


def test_near_names_ignore_case() -> None:
    assert fakes.REGISTRY.near("blnd") == ["Blend"]


def test_an_object_that_is_not_a_node_is_refused() -> None:
    assert spec_of(object()) is None
    with pytest.raises(SpecError, match="is not a node"):
        Registry.of(object())


@pytest.mark.parametrize(
    ("expected", "given", "answer"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("IMAGE,MASK", "MASK", True),
        ("IMAGE", "LATENT, IMAGE", True),
        ("*", "MODEL", True),
        ("MODEL", "*", True),
        ("FLOAT", "INT", True),
        ("INT", "FLOAT", False),
        ("COMBO", "STRING", True),
        ("STRING", "COMBO", False),
    ],
)
def test_which_output_may_feed_which_input(expected: str, given: str, answer: bool) -> None:
    assert accepts(expected, given) is answer
