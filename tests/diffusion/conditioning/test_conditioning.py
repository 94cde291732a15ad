"""Conditionings are mixed as the reference mixes them."""

from __future__ import annotations

import torch

from latentloom.diffusion.conditioning.conditioning import (
    PromptEntry,
    average,
    concat,
    with_range,
    zero_out,
)

LONG = PromptEntry(torch.full((1, 4, 2), 2.0), torch.full((1, 2), 2.0), start=0.2)
SHORT = PromptEntry(torch.full((1, 2, 2), 6.0), torch.full((1, 2), 6.0))


def test_concat_adds_tokens_and_keeps_the_rest() -> None:
    (entry,) = concat((LONG,), (SHORT, LONG))
    assert entry.tokens[0, :, 0].tolist() == [2, 2, 2, 2, 6, 6]
    assert entry.start == 0.2


def test_average_fills_a_shorter_other_with_zeros() -> None:
    (entry,) = average((LONG,), (SHORT,), 0.25)
    assert entry.tokens[0, :, 0].tolist() == [5, 5, 0.5, 0.5]
    assert entry.pooled is not None
    assert entry.pooled.tolist() == [[5, 5]]


def test_average_cuts_a_longer_other() -> None:
    (entry,) = average((SHORT,), (LONG,), 0.5)
    assert entry.tokens[0, :, 0].tolist() == [4, 4]


def test_average_changes_every_entry_of_the_first() -> None:
    assert len(average((LONG, SHORT), (SHORT,), 0.5)) == 2


def test_zero_out_keeps_shapes() -> None:
    (entry,) = zero_out((LONG,))
    assert entry.tokens.shape == LONG.tokens.shape
    assert not entry.tokens.any()
    assert entry.pooled is not None
    assert not entry.pooled.any()


def test_nothing_is_changed_in_place() -> None:
    before = LONG.tokens.clone()
    zero_out(average(concat((LONG,), (SHORT,)), (SHORT,), 0.5))
    assert torch.equal(LONG.tokens, before)


def test_a_range_is_set_on_every_entry() -> None:
    assert [(e.start, e.end) for e in with_range((LONG, SHORT), 0.1, 0.6)] == [(0.1, 0.6)] * 2
