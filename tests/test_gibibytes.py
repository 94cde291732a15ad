"""Byte budgets: the engine and the diffusion code, which share no import, read them alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latentloom.diffusion.networks import residency
from latentloom.engine.cache import gibibytes

PARSERS = (gibibytes.parse_gibibytes, residency.parse_gibibytes)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("2.5", 2.5), (" 7 ", 7.0), ("1e3", 1000.0), ("-0", 0.0)]
)
def test_numbers_from_0_are_amounts(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["", "much", "-1", "nan", "inf", "1e9", "1048576", "x" * 99])
def test_anything_else_is_rejected_in_the_same_words(
    parse: Callable[[str], float], text: str
) -> None:
    with pytest.raises(ValueError, match="GiB") as error:
        parse(text)
    assert str(error.value) == f"expected a number of GiB, 0 or more, got {text[:40]!r}"
