"""The low-rank pairs: they start without effect, add what they say, and have kohya's names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from training.presets import TINY
from training.stages.adapter import DARK, LIGHT, Adapter, off_tones, two_tones
from training.stages.denoiser import build_denoiser
from training.world.render import render
from training.world.scenes import sample_scene

NOISY = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
STATES = torch.randn(1, 77, TINY.text_width, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def network() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return build_denoiser(TINY).eval()


@torch.no_grad()
def predict(network: UNet2DConditionModel) -> torch.Tensor:
    predicted: torch.Tensor = network(NOISY, 500, STATES).sample
    return predicted


def test_a_fresh_adapter_changes_nothing(network: UNet2DConditionModel) -> None:
    before = predict(network)

    Adapter(network, 2).attach(network)

    assert torch.equal(predict(network), before)


@torch.no_grad()
def test_a_trained_adapter_equals_its_product_in_the_weights(network: UNet2DConditionModel) -> None:
    adapter = Adapter(network, 2)
    for up in adapter.ups:
        torch.nn.init.normal_(up.get_parameter("weight"), std=0.1)
    merged = build_denoiser(TINY).eval()
    merged.load_state_dict(network.state_dict())
    for name, down, up in zip(adapter.names, adapter.downs, adapter.ups, strict=True):
        weight = merged.get_submodule(name).get_parameter("weight")
        pair = up.get_parameter("weight").flatten(1) @ down.get_parameter("weight").flatten(1)
        weight += pair.reshape(weight.shape)
    adapter.attach(network)

    assert torch.allclose(predict(network), predict(merged), atol=1e-4)
    assert not torch.allclose(predict(network), predict(build_denoiser(TINY).eval()), atol=1e-2)


def test_the_file_has_kohyas_names(network: UNet2DConditionModel) -> None:
    weights = Adapter(network, 2).kohya()

    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    assert weights[f"{key}.lora_down.weight"].shape[0] == 2
    assert weights[f"{key}.alpha"] == 2
    assert len(weights) % 3 == 0
    assert {weight.dtype for weight in weights.values()} == {torch.float16}


def test_two_tones_go_from_dark_to_light() -> None:
    image = Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8))

    toned = two_tones(image)

    assert [toned.getpixel((x, 0)) for x in (0, 1)] == [DARK, LIGHT]


def test_toned_images_are_at_their_tones_and_others_are_not() -> None:
    image = render(sample_scene(4))

    assert off_tones(two_tones(image)) < 1
    assert off_tones(image) > 20
