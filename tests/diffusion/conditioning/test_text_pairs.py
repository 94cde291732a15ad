"""Two text encoders, concatenated: the layers of each, prompts of different length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.text import encode_prompts, encode_text
from latentloom.diffusion.errors import PromptError
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from tests.tiny_model import LAYERS, write_tiny_sdxl

NARROW = 32


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_tiny_sdxl(tmp_path_factory.mktemp("models") / "sdxl"))


def outputs_of(model: Checkpoint, text: str = "a fox") -> list[tuple[Any, Any]]:
    """The output of transformers for each encoder, and the encoder itself."""
    outputs = []
    for part in model.clip.weights.encoders:
        start, end, pad = part.tokenizer.special_tokens
        plain = [start, *part.tokenizer.encode(text), end]
        ids = torch.tensor([plain + [pad] * (77 - len(plain))])
        names = [name for name, _ in part.module.named_children()]
        network = part.module.get_submodule("text_model") if "text_model" in names else part.module
        with torch.no_grad():
            outputs.append((network(ids, output_hidden_states=True), network))
    return outputs


def tokens(model: Checkpoint, text: str, layer: int | None = None) -> list[Tensor]:
    """The encodings of the narrow and of the wide encoder."""
    (entry,) = encode_text(replace(model.clip, layer=layer), text)
    return [entry.tokens[..., :NARROW], entry.tokens[..., NARROW:]]


@pytest.mark.parametrize(("layer", "index"), [(None, -2), (-2, -2), (-LAYERS, -LAYERS)])
def test_an_earlier_layer_is_taken_without_the_final_norm(
    pair: Checkpoint, layer: int | None, index: int
) -> None:
    for got, (expected, _) in zip(tokens(pair, "a fox", layer), outputs_of(pair), strict=True):
        torch.testing.assert_close(got, expected.hidden_states[index], atol=1e-5, rtol=1e-4)


def test_the_last_layer_is_taken_without_the_final_norm_too(pair: Checkpoint) -> None:
    for got, (expected, network) in zip(tokens(pair, "a fox", -1), outputs_of(pair), strict=True):
        normed = network.final_layer_norm(got)
        torch.testing.assert_close(normed, expected.last_hidden_state, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(got, normed, atol=1e-2)


@pytest.mark.parametrize("layer", [-LAYERS - 1, -24])
def test_a_layer_that_is_not_there_is_the_last_with_its_norm(pair: Checkpoint, layer: int) -> None:
    for got, (expected, _) in zip(tokens(pair, "a fox", layer), outputs_of(pair), strict=True):
        torch.testing.assert_close(got, expected.last_hidden_state, atol=1e-5, rtol=1e-4)


def test_pooled_is_the_second_encoders_projected_from_the_last_layer(pair: Checkpoint) -> None:
    (plain,), (deep,) = (
        encode_text(replace(pair.clip, layer=layer), "a fox") for layer in (None, -LAYERS)
    )
    assert plain.pooled is not None
    assert deep.pooled is not None
    torch.testing.assert_close(plain.pooled, deep.pooled)
    width = pair.clip.weights.encoders[1]
    last = outputs_of(pair)[1][0].last_hidden_state
    end = 1 + len(width.tokenizer.encode("a fox"))
    expected = width.module.get_submodule("text_projection")(last[:, end])
    torch.testing.assert_close(plain.pooled, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("longer", ["l", "g"])
def test_the_shorter_prompt_is_filled_up_with_empty_chunks(pair: Checkpoint, longer: str) -> None:
    long = "x" * 80
    texts: Any = {"l": "a fox", "g": "a fox", longer: long}
    (entry,) = encode_prompts(pair.clip, texts)
    parts = [entry.tokens[..., :NARROW], entry.tokens[..., NARROW:]]
    filled = 1 if longer == "l" else 0
    want_long, want_short = tokens(pair, long)[1 - filled], tokens(pair, "a fox")[filled]
    assert entry.tokens.shape[1] == 154
    torch.testing.assert_close(parts[1 - filled], want_long, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parts[filled][:, :77], want_short, atol=1e-5, rtol=1e-4)
    empty = tokens(pair, "")[filled]
    torch.testing.assert_close(parts[filled][:, 77:], empty, atol=1e-5, rtol=1e-4)


def test_pooled_is_of_the_first_chunk(pair: Checkpoint) -> None:
    (long,), (short,) = (encode_text(pair.clip, "x " * count) for count in (80, 75))
    assert long.pooled is not None
    assert short.pooled is not None
    torch.testing.assert_close(long.pooled, short.pooled, atol=1e-5, rtol=1e-4)


def test_a_prompt_for_one_encoder_only_is_rejected(pair: Checkpoint) -> None:
    with pytest.raises(PromptError, match="expected prompts for the text encoders l, g, got l"):
        encode_prompts(pair.clip, {"l": "a fox"})
