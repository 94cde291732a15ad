"""Redux: SigLIP's patches through its network, appended to a prompt; biases on attention."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from transformers import SiglipVisionConfig, SiglipVisionModel

from latentloom.diffusion.conditioning.conditioning import PromptEntry, with_style
from latentloom.diffusion.errors import ModelFileError, UnsuitableValueError
from latentloom.diffusion.families.conditions import TokenBias
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.clip_vision import (
    ClipVision,
    check_clip_vision,
    encode_image,
    load_clip_vision,
)
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.networks.style_model import (
    StyleModel,
    check_style_model,
    load_style_model,
    make_style_tokens,
)
from latentloom.diffusion.sampling.sample import sample
from tests.closeness import largest_error
from tests.diffusion.families.test_flux import PLAN, make, prompt, write

WIDTH, TOKEN_WIDTH, SIDE = 128, 32, 28


def make_siglip(*, has_head: bool = True) -> SiglipVisionModel:
    torch.manual_seed(2)
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            image_size=SIDE, patch_size=14, vision_use_head=has_head,
        )
    ).eval()  # fmt: skip


def make_redux() -> ReduxImageEncoder:
    torch.manual_seed(3)
    return ReduxImageEncoder(WIDTH, TOKEN_WIDTH).eval()


def write_siglip(path: Path, *, has_head: bool = True) -> Path:
    weights = make_siglip(has_head=has_head).state_dict()
    return write(path, {f"vision_model.{name}": value for name, value in weights.items()})


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> ClipVision:
    return load_clip_vision(write_siglip(tmp_path_factory.mktemp("v") / "v.safetensors"))


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> StyleModel:
    path = tmp_path_factory.mktemp("s") / "s.safetensors"
    return load_style_model(write(path, make_redux().state_dict()))


@pytest.mark.parametrize("has_head", [True, False])
def test_a_siglip_file_is_transformers_network(tmp_path: Path, *, has_head: bool) -> None:
    vision = load_clip_vision(write_siglip(tmp_path / "v.safetensors", has_head=has_head))
    image = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1))
    output = encode_image(vision, (image * 255).round() / 255)
    pixels = ((image * 255).round() / 255).movedim(-1, 1) * 2 - 1
    with torch.inference_mode():
        expected = make_siglip(has_head=has_head)(pixels).last_hidden_state
    assert vision.side_px == SIDE
    assert output.last.shape == (2, 4, WIDTH)
    assert largest_error(output.last, expected) < 1e-4


def test_a_siglip_file_without_a_weight_is_refused(tmp_path: Path) -> None:
    weights = {f"vision_model.{name}": value for name, value in make_siglip().state_dict().items()}
    del weights["vision_model.post_layernorm.bias"]
    with pytest.raises(ModelFileError, match=r"lacks the weights post_layernorm\.bias"):
        check_clip_vision(write(tmp_path / "v.safetensors", weights))


def test_the_tokens_are_those_of_diffusers_network(vision: ClipVision, style: StyleModel) -> None:
    output = encode_image(vision, torch.rand(2, SIDE, SIDE, 3))
    with torch.inference_mode():
        expected = make_redux()(output.last).image_embeds
    tokens = make_style_tokens(style, output)
    assert tokens.shape == (1, 8, TOKEN_WIDTH)
    assert largest_error(tokens, expected.reshape(1, 8, TOKEN_WIDTH)) < 1e-4


def test_another_image_encoder_is_refused(style: StyleModel, vision: ClipVision) -> None:
    output = encode_image(vision, torch.rand(1, SIDE, SIDE, 3))
    with pytest.raises(UnsuitableValueError, match="vectors of 128 numbers, got 64 numbers"):
        make_style_tokens(style, output._replace(last=output.last[..., :64]))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not a style model"):
        check_style_model(write(tmp_path / "s.safetensors", {"a": torch.zeros(2)}))


def test_strength_multiplies_the_tokens_or_their_attention() -> None:
    entry, style = prompt(), torch.ones(1, 3, 32)
    (multiplied,) = with_style((entry,), style, 0.5, as_bias=False)
    assert torch.equal(multiplied.tokens[:, 5:], style * 0.5)
    assert multiplied.biases == ()
    (biased,) = with_style((entry,), style, 0.5, as_bias=True)
    assert torch.equal(biased.tokens[:, 5:], style)
    assert biased.biases == (TokenBias(5, 3, math.log(0.5)),)


def test_attention_of_almost_no_strength_leaves_the_tokens_out(tmp_path: Path) -> None:
    model = load_unet(write(tmp_path / "f.safetensors", make().state_dict()))
    latent, style = Latent(torch.zeros(1, 16, 4, 4)), torch.randn(1, 3, 32)

    def run(entry: PromptEntry) -> torch.Tensor:
        return sample(model, latent, (entry,), (), replace(PLAN, steps=1)).samples

    (ignored,) = with_style((prompt(),), style, 0.0, as_bias=True)
    (applied,) = with_style((prompt(),), style, 1.0, as_bias=True)
    assert largest_error(run(ignored), run(prompt())) < 1e-4
    assert largest_error(run(applied), run(prompt())) > 1e-2
