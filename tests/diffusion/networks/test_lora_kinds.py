"""Rarer kinds of changes: OFT, GLoRA, and replaced weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.lora import LoraPatch, with_clip_lora
from latentloom.diffusion.networks.lora_kinds import apply_change
from tests.diffusion.networks.test_lora import random, write


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 3)])
def test_an_oft_rotates_blocks_of_outputs(shape: tuple[int, ...]) -> None:
    weight, blocks = random(*shape), random(2, 3, 3, seed=1) * 0.3
    got = apply_change(weight, {"oft_blocks": blocks}, 1.0)
    lengths = [tensor.reshape(2, 3, -1).norm(dim=1) for tensor in (got, weight)]
    torch.testing.assert_close(*lengths, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(got, weight, atol=1e-2)
    half = apply_change(weight, {"oft_blocks": blocks}, 0.5)
    torch.testing.assert_close(half, weight + (got - weight) / 4, rtol=1e-4, atol=1e-5)
    back = apply_change(got, {"oft_blocks": blocks.transpose(1, 2)}, 1.0)
    torch.testing.assert_close(back, weight, rtol=1e-4, atol=1e-4)


def test_the_alpha_of_an_oft_limits_its_rotation() -> None:
    weight, blocks = random(6, 5), random(2, 3, 3, seed=1)
    skew = blocks - blocks.transpose(1, 2)
    roles = {"oft_blocks": blocks, "alpha": torch.tensor(0.1)}
    expected = apply_change(weight, {"oft_blocks": blocks * 0.1 / skew.norm()}, 1.0)
    torch.testing.assert_close(apply_change(weight, roles, 1.0), expected, rtol=1e-4, atol=1e-5)
    unlimited = apply_change(weight, {**roles, "alpha": torch.tensor(1e3)}, 1.0)
    torch.testing.assert_close(unlimited, apply_change(weight, {"oft_blocks": blocks}, 1.0))


def test_a_glora_multiplies_and_adds_in_either_order_of_factors() -> None:
    weight, alpha = random(6, 5), torch.tensor(1.0)
    a, b, c, d = (
        random(5, 2, seed=1),
        random(2, 5, seed=2),
        random(6, 2, seed=3),
        random(2, 5, seed=4),
    )
    expected = weight + 0.7 * 0.5 * (weight @ a @ b + c @ d)
    names = ("glora_a1", "glora_a2", "glora_b1", "glora_b2")
    for factors in ((a, b, c, d), (b, a, d, c)):
        roles = dict(zip(names, factors, strict=True)) | {"alpha": alpha}
        torch.testing.assert_close(apply_change(weight, roles, 0.7), expected, rtol=1e-4, atol=1e-5)


def test_a_glora_of_a_convolution_mixes_its_inputs() -> None:
    weight = random(6, 5, 3, 3)
    a, b = random(5, 2, 1, 1, seed=1), random(2, 5, 1, 1, seed=2)
    c, d = random(6, 2, 1, 1, seed=3), random(2, 5, 3, 3, seed=4)
    roles = {"glora_a1": a, "glora_a2": b, "glora_b1": c, "glora_b2": d}
    mixed = torch.einsum("oikl,ij->ojkl", weight, a.flatten(1) @ b.flatten(1))
    expected = weight + mixed + (c.flatten(1) @ d.flatten(1)).reshape(weight.shape)
    torch.testing.assert_close(apply_change(weight, roles, 1.0), expected, rtol=1e-4, atol=1e-4)


def test_a_replaced_weight_ignores_the_strength() -> None:
    weight, other = random(6, 5), random(6, 5, seed=1)
    assert torch.equal(apply_change(weight, {"set": other}, 0.3), other)


@pytest.mark.parametrize(
    ("extensions", "shapes"),
    [
        (("oft_blocks",), ((4, 8, 8),)),
        (
            ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
            ((32, 2), (2, 32), (32, 2), (2, 32)),
        ),
        (("set_weight",), ((32, 32),)),
    ],
)
def test_further_kinds_are_read_from_files(
    tiny: Checkpoint,
    tmp_path: Path,
    extensions: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
) -> None:
    layer = next(
        name.removesuffix(".weight")
        for name, value in tiny.clip.weights.module.named_parameters()
        if name.endswith("q_proj.weight") and value.shape == (32, 32)
    )
    layer_key = f"lora_te_text_model_{layer.removeprefix('text_model.').replace('.', '_')}"
    tensors = {
        f"{layer_key}.{extension}": random(*shape, seed=index) * 0.1
        for index, (extension, shape) in enumerate(zip(extensions, shapes, strict=True))
    }
    file = write(tmp_path / "kind.safetensors", tensors)
    (patch,) = with_clip_lora(tiny.clip, file, 1.0).patches
    assert isinstance(patch, LoraPatch)
    assert [*patch.changes] == [f"{layer}.weight"]
    weight = dict(tiny.clip.weights.module.named_parameters())[f"{layer}.weight"].detach()
    assert not torch.allclose(patch.change(f"{layer}.weight", weight.float()), weight, atol=1e-3)


def test_layers_that_the_network_does_not_have_are_logged_and_ignored(
    tiny: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {
        f"lora_te_text_model_encoder_layers_{number}_self_attn_q_proj.{end}.weight": value
        for number in (0, 77)
        for end, value in (("lora_up", random(32, 2)), ("lora_down", random(2, 32)))
    }
    (patch,) = with_clip_lora(tiny.clip, write(tmp_path / "f.safetensors", tensors), 1.0).patches
    assert isinstance(patch, LoraPatch)
    assert [*patch.changes] == ["encoder.layers.0.self_attn.q_proj.weight"]
    assert "f.safetensors: 2 tensors are not used, such as" in caplog.text


def test_unsupported_kinds_are_rejected_with_the_reason(tiny: Checkpoint, tmp_path: Path) -> None:
    layer_key = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    butterfly = write(
        tmp_path / "boft.safetensors", {f"{layer_key}.oft_blocks": random(2, 4, 8, 8)}
    )
    with pytest.raises(ModelFileError, match="BOFT adapters are not supported"):
        with_clip_lora(tiny.clip, butterfly, 1.0)
    names, shapes = ("a1", "a2", "b1", "b2"), ((32, 2), (3, 32), (16, 2), (2, 32))
    factors = {
        f"{layer_key}.{name}.weight": random(*shape)
        for name, shape in zip(names, shapes, strict=True)
    }
    unlike = write(tmp_path / "glora.safetensors", factors)
    with pytest.raises(ModelFileError, match="the factors of a GLoRA layer do not fit each other"):
        with_clip_lora(tiny.clip, unlike, 1.0)
