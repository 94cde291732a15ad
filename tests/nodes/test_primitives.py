"""Primitive nodes return their value with its type."""

from __future__ import annotations

import pytest

from latentloom.engine.node.spec import spec_of
from latentloom.nodes import primitives


@pytest.mark.parametrize(
    ("target", "type_name"),
    [
        (primitives.primitive_int, "INT"),
        (primitives.primitive_float, "FLOAT"),
        (primitives.primitive_string, "STRING"),
        (primitives.primitive_boolean, "BOOLEAN"),
    ],
)
def test_a_primitive_has_one_input_and_one_output(target: object, type_name: str) -> None:
    spec = spec_of(target)
    assert spec is not None
    assert [(port.name, port.type) for port in spec.inputs] == [("value", type_name)]
    assert [(output.name, output.type) for output in spec.outputs] == [(type_name, type_name)]


def test_primitives_return_their_value() -> None:
    assert primitives.primitive_int(-(2**63 - 1)) == -(2**63 - 1)
    assert primitives.primitive_float(0.1) == 0.1
    assert primitives.primitive_string("a\nb") == "a\nb"
    assert primitives.primitive_boolean(False) is False


def test_a_note_has_no_outputs_and_runs_nothing() -> None:
    spec = spec_of(primitives.note)
    assert spec is not None
    assert spec.outputs == ()
    assert not spec.output_node
    assert spec.port("text") is not None
