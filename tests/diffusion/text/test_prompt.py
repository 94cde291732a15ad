"""Prompts: weights, escapes, chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.diffusion.errors import PromptError
from latentloom.diffusion.text.prompt import (
    CHUNK_TOKENS,
    MAX_LENGTH,
    SpecialTokens,
    Token,
    pack,
    parse_weights,
    tokenize,
)

SPECIAL_TOKENS = SpecialTokens(1000, 1001, 1002)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a fox", [("a fox", 1.0)]),
        ("a (fox)", [("a ", 1.0), ("fox", 1.1)]),
        ("((fox))", [("fox", 1.1 * 1.1)]),
        ("(fox:1.3)", [("fox", 1.3)]),
        ("((fox:1.3))", [("fox", 1.3)]),
        ("((fox:1.2):0.8)", [("fox", 1.2)]),
        ("(a (b:0.5) c)", [("a ", 1.1), ("b", 0.5), (" c", 1.1)]),
        ("(fox: 1.5 )", [("fox", 1.5)]),
        ("(fox:-1e-1)", [("fox", -0.1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:b:2)", [("a:b", 2.0)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("()", []),
        (r"a \(fox\)", [("a (fox)", 1.0)]),
        (r"(\(fox\):2)", [("(fox)", 2.0)]),
        ("un(closed", [("un", 1.0), ("(closed", 1.0)]),
        ("a) b (c)", [("a) b (c)", 1.0)]),
        ("[fox]", [("[fox]", 1.0)]),
    ],
)
def test_weights_are_parsed_as_in_comfyui(text: str, pieces: list[tuple[str, float]]) -> None:
    got = parse_weights(text)
    assert [piece for piece, _ in got] == [piece for piece, _ in pieces]
    assert [weight for _, weight in got] == pytest.approx([weight for _, weight in pieces])


@given(st.text("ab():.12\\ ", max_size=60))
def test_any_string_is_parsed_and_no_letter_is_lost(text: str) -> None:
    letters = "".join(piece for piece, _ in parse_weights(text))
    assert letters.count("a") == text.count("a")
    assert letters.count("b") == text.count("b")


def test_a_prompt_that_is_too_long_is_an_error() -> None:
    with pytest.raises(PromptError, match="characters"):
        parse_weights("a" * (MAX_LENGTH + 1))


def test_parentheses_nested_too_deep_are_an_error() -> None:
    with pytest.raises(PromptError, match="nested"):
        parse_weights("(" * 1000 + "a" + ")" * 1000)


def test_a_thousand_open_parentheses_are_plain_text() -> None:
    assert parse_weights("(" * 1000) == [("(" * 1000, 1.0)]


def tokens(count: int) -> list[Token]:
    return [Token(index, 1.0) for index in range(count)]


def ids(chunk: list[Token]) -> list[int]:
    return [token.id for token in chunk]


def test_a_short_prompt_is_one_padded_chunk() -> None:
    (chunk,) = pack([tokens(3)], SPECIAL_TOKENS)
    assert ids(chunk) == [1000, 0, 1, 2, 1001, *[1002] * 72]


def test_seventy_five_tokens_fill_a_chunk() -> None:
    assert len(pack([tokens(75)], SPECIAL_TOKENS)) == 1
    assert len(pack([tokens(76)], SPECIAL_TOKENS)) == 2


def test_a_short_piece_that_does_not_fit_starts_a_chunk() -> None:
    first, second = pack([tokens(72), tokens(7)], SPECIAL_TOKENS)
    assert ids(first)[73:] == [1001, 1002, 1002, 1002]
    assert ids(second)[:8] == [1000, *range(7)]


def test_a_long_piece_is_split_at_the_end_of_a_chunk() -> None:
    first, second = pack([tokens(72), tokens(8)], SPECIAL_TOKENS)
    assert ids(first)[73:] == [0, 1, 2, 1001]
    assert ids(second)[:6] == [1000, 3, 4, 5, 6, 7]


@given(st.lists(st.integers(0, 200), max_size=6))
def test_every_chunk_is_full_and_no_token_is_lost(lengths: list[int]) -> None:
    chunks = pack([tokens(length) for length in lengths], SPECIAL_TOKENS)
    assert {len(chunk) for chunk in chunks} == {CHUNK_TOKENS}
    packed = [token.id for chunk in chunks for token in chunk if token.id < 1000]
    assert packed == [index for length in lengths for index in range(length)]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("embedding:x", ""),
        ("a embedding:x", "a"),
        ("a,\nembedding:x", "a,"),
        ("a embedding:x, b", "a, b"),
        ("a embedding:x,", "a,"),
        ("(a embedding:x, b:1.2)", "(a, b:1.2)"),
    ],
)
def test_embeddings_are_left_out_rather_than_read_as_text(text: str, rest: str) -> None:
    def encode(piece: str) -> list[int]:
        return [ord(letter) for letter in piece if letter != " "]

    assert tokenize(text, encode, SPECIAL_TOKENS) == tokenize(rest, encode, SPECIAL_TOKENS)


@pytest.mark.parametrize("weight", ["1e30", "nan", "inf", "-inf", "-20000"])
def test_a_weight_that_no_encoding_can_hold_is_named(weight: str) -> None:
    with pytest.raises(PromptError, match=rf"got \(fox:{weight}\)"):
        parse_weights(f"a (red (fox:{weight}))")
    assert parse_weights(f"fox:{weight}") == [(f"fox:{weight}", 1.0)]
    assert parse_weights("(in:2024)") == [("in", 2024.0)]
