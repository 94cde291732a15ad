"""Nodes for strings, patterns and numbers: limits, and errors that name the input."""

from __future__ import annotations

from typing import Any

import pytest

from latentloom.engine.errors import InputError
from latentloom.nodes import logic, numeric, patterns, preview, strings


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "{0}",
        "{a.real}",
        "{a.__class__}",
        "{a:>99999}",
        "{a:{a}}",
        "{b}",
        "{a[x]}",
        "{a:q}",
    ],
)
def test_a_wrong_format_names_the_input(text: str) -> None:
    with pytest.raises(InputError, match="f_string: expected"):
        strings.format_string({"a": 1}, text)


def test_a_format_shows_an_object_by_its_type() -> None:
    assert strings.format_string({"a": object(), "b": None}, "{a} {b!r}") == "object None"


@pytest.mark.parametrize(
    "make",
    [
        lambda: strings.concatenate("a" * 600_000, "b" * 600_000),
        lambda: strings.replace("a" * 2000, "a", "b" * 1000),
        lambda: strings.format_string({"a": "b" * 9000}, "{a}" * 200),
        lambda: patterns.replace_pattern("a" * 2000, "a", "b" * 1000),
    ],
)
def test_a_string_grows_to_a_million_characters_at_most(make: Any) -> None:
    with pytest.raises(InputError, match="1000000 characters"):
        make()


def test_a_pattern_that_backtracks_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.05)
    with pytest.raises(InputError, match="regex_pattern: expected a pattern that takes at most"):
        patterns.match_pattern("a" * 60 + "b", r"(a|aa)+$")
    with pytest.raises(InputError, match="takes longer"):
        patterns.replace_pattern("a" * 60 + "b", r"(a|aa)+$", "")


def test_a_wrong_pattern_or_replacement_names_the_input() -> None:
    with pytest.raises(InputError, match="regex_pattern: expected a regular expression"):
        patterns.replace_pattern("a", "[", "")
    with pytest.raises(InputError, match="replace: expected"):
        patterns.replace_pattern("a", "(a)", r"\2")
    assert patterns.extract_pattern("a", "[", "All Matches") == ""


def test_all_matches_gives_the_first_group_of_a_pattern_with_groups() -> None:
    assert patterns.extract_pattern("a1 b2", r"([a-z])(\d)", "All Matches") == "a\nb"


@pytest.mark.parametrize(
    "expression",
    [
        "9 ** 9 ** 9", "pow(9, 99999)", "1 << 99999", "round(1.5, 99999)", "round(1, -99999)",
        "a.real", "'x' * 9", "f'{a:>99}'", "[a]", "(" * 90 + "a", "lambda: 1", "a if", "__import__",
        "1 / 0", "1e999", "sqrt(-1)", "a" * 5000, "-" * 3000 + "1", "log(0)", "min(a)", "sum('x')",
    ],
)  # fmt: skip
def test_a_wrong_expression_names_the_input(expression: str) -> None:
    with pytest.raises(InputError, match="expression: expected"):
        numeric.calculate(values={"a": 2}, expression=expression)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("sum(a, b, 1)", 6), ("floor(7 / 2)", 3), ("2 ** 64 - 1", 2**64 - 1), ("a == 2 and b > 2", 1)],
)
def test_an_expression_gives_its_value(expression: str, value: int) -> None:
    assert value == numeric.calculate(values={"a": 2, "b": 3}, expression=expression).INT


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "", "0x10", "9" * 5000])
def test_a_string_that_is_not_a_finite_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="value: expected a finite number"):
        numeric.convert_number(text)


def test_a_long_number_is_converted_exactly() -> None:
    assert numeric.convert_number("9007199254740993").INT == 2**53 + 1


def test_json_gives_nested_values_as_json() -> None:
    assert patterns.extract_json('{"a": {"b": [1]}}', "a") == '{"b": [1]}'
    assert patterns.extract_json("[1]", "a") == ""
    with pytest.raises(InputError, match="json_string: expected JSON"):
        patterns.extract_json("{", "a")
    with pytest.raises(InputError, match="json_string: expected JSON"):
        patterns.extract_json("[" * 100_000, "a")


def test_plain_data_is_converted_to_json() -> None:
    assert patterns.dictionary_to_json({"a": (1,)}, 0) == '{"a": [1]}'
    with pytest.raises(InputError, match="array: expected plain data"):
        patterns.array_to_json([object()])


def test_a_preview_shows_plain_data_as_json_and_tensors_by_shape() -> None:
    import torch

    assert preview.preview_any({"a": 1}) == '{\n    "a": 1\n}'
    assert preview.preview_any(None) == "None"
    assert preview.preview_any(torch.zeros(1, 2)) == "Tensor(1, 2)"
    assert preview.preview_any([torch.zeros(1)]) == "1 values"


def test_tensors_are_true() -> None:
    import torch

    assert not logic.invert_truth(torch.zeros(2))
    assert logic.any_true({"value0": 0, "value1": torch.zeros(2)})
    assert not logic.all_true({"value0": None, "value1": 1})
