"""Equal values have equal digests, others do not, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.cache.fingerprint import Fingerprinter, UnknownTypeError

fingerprint = Fingerprinter().fingerprint

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """The value with its types written out, so that == tells 1, 1.0 and True apart."""
    if isinstance(value, Mapping):
        return frozenset((key, exact(item)) for key, item in value.items())
    if isinstance(value, list):
        return ("list", tuple(exact(item) for item in value))
    return (type(value).__name__, repr(value))


@given(values, values)
def test_digests_are_equal_just_when_values_are(a: Any, b: Any) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (exact(a) == exact(b))


def test_one_in_three_types_has_three_digests() -> None:
    assert len({fingerprint(value) for value in (1, 1.0, True, "1")}) == 4


def test_nestings_do_not_read_alike() -> None:
    assert fingerprint([["a"], "b"]) != fingerprint([["a", "b"]])


@dataclass(frozen=True)
class Frozen:
    value: int


@dataclass
class Loose:
    value: int


def test_a_frozen_dataclass_is_its_fields() -> None:
    assert fingerprint(Frozen(1)) == fingerprint(Frozen(1)) != fingerprint(Frozen(2))


@pytest.mark.parametrize("value", [Loose(1), object(), {1, 2}, lambda: None, [Loose(1)]])
def test_an_unknown_type_raises(value: Any) -> None:
    with pytest.raises(UnknownTypeError, match="has no fingerprint"):
        fingerprint(value)
