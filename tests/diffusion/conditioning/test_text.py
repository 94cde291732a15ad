"""Text encoding against transformers' own, and the arithmetic of weights and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.networks.load import Checkpoint
from tests.tiny_model import LAYERS


def reference(tiny: Checkpoint, text: str) -> Any:
    tokenizer = tiny.clip.weights.tokenizer
    start, end, pad = tokenizer.special_tokens
    plain = [start, *tokenizer.encode(text), end]
    ids = torch.tensor([plain + [pad] * (77 - len(plain))])
    with torch.no_grad():
        return tiny.clip.weights.module(ids, output_hidden_states=True)


def tokens(tiny: Checkpoint, text: str) -> Tensor:
    (entry,) = encode_text(tiny.clip, text)
    return entry.tokens


def test_a_plain_prompt_is_what_transformers_gives(tiny: Checkpoint) -> None:
    (entry,), want = encode_text(tiny.clip, "a fox"), reference(tiny, "a fox")
    assert torch.allclose(entry.tokens, want.last_hidden_state, atol=1e-6)
    assert entry.pooled is not None
    assert torch.allclose(entry.pooled, want.pooler_output, atol=1e-6)


@pytest.mark.parametrize("layer", [-2, -3])
def test_an_earlier_layer_passes_the_final_norm(tiny: Checkpoint, layer: int) -> None:
    (entry,) = encode_text(replace(tiny.clip, layer=layer), "a fox")
    hidden = reference(tiny, "a fox").hidden_states[layer]
    want = tiny.clip.weights.module.get_submodule("final_layer_norm")(hidden)
    assert torch.allclose(entry.tokens, want, atol=1e-6)


@pytest.mark.parametrize("layer", [-1, -LAYERS - 1, -24])
def test_a_layer_that_is_not_there_is_the_last(tiny: Checkpoint, layer: int) -> None:
    (entry,) = encode_text(replace(tiny.clip, layer=layer), "a fox")
    assert torch.equal(entry.tokens, tokens(tiny, "a fox"))


def test_a_weight_moves_away_from_the_empty_prompt(tiny: Checkpoint) -> None:
    plain, empty = tokens(tiny, "fox"), tokens(tiny, "")
    heavy = tokens(tiny, "(fox:1.5)")
    # "fox" is three tokens of one letter each, behind the start mark.
    want = (plain - empty)[:, 1:4] * 1.5 + empty[:, 1:4]
    assert torch.allclose(heavy[:, 1:4], want, atol=1e-6)
    assert torch.allclose(heavy[:, 4:], plain[:, 4:], atol=1e-6)


def test_weight_one_changes_nothing(tiny: Checkpoint) -> None:
    assert torch.equal(tokens(tiny, "(fox:1.0)"), tokens(tiny, "fox"))


def test_a_long_prompt_is_encoded_in_chunks(tiny: Checkpoint) -> None:
    long = tokens(tiny, "x" * 80)
    assert long.shape == (1, 154, 32)
    assert torch.allclose(long[:, 77:], tokens(tiny, "x" * 5), atol=1e-6)


def test_the_result_is_an_ordinary_tensor(tiny: Checkpoint) -> None:
    assert not tokens(tiny, "fox").is_inference()
