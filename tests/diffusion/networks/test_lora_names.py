"""LoRA: names of layers in other tools' files, parts that are not used, and order of operations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.lora import with_clip_lora, with_lora
from latentloom.diffusion.networks.lora_kinds import apply_change
from latentloom.diffusion.weights.lora_file import parse_lora_keys
from tests.diffusion.networks.test_lora import LAYER, TEXT, kohya, random, weights_of, write

OUTER = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
ORIGINAL_OUTER = ("input_blocks.0.0", "out.2", "time_embed.0", "time_embed.2")


def pair(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return the two factors of a change of rank 2 in PEFT's names."""
    rows, columns = weight.shape[:2]
    return {
        f"{name}.lora_B.weight": random(rows, 2, *[1] * (weight.ndim - 2)),
        f"{name}.lora_A.weight": random(2, columns, *weight.shape[2:], seed=1),
    }


@pytest.mark.parametrize("prefix", ["base_model.model.", "", "unet.", "base_model.model.unet."])
@pytest.mark.parametrize("names", [OUTER, ORIGINAL_OUTER])
def test_outer_layers_are_found_in_any_naming(
    prefix: str, names: tuple[str, ...], tiny: Checkpoint, tmp_path: Path
) -> None:
    base = weights_of(tiny.model)
    tensors: dict[str, Tensor] = {}
    for name, ours in zip(names, OUTER, strict=True):
        tensors |= pair(prefix + name, base[f"{ours}.weight"])
    got = weights_of(with_lora(tiny.model, write(tmp_path / "lora", tensors), 1.0))
    changed = {name for name in base if not torch.equal(base[name], got[name])}
    assert changed == {f"{name}.weight" for name in OUTER}


@pytest.mark.parametrize(
    ("key", "target", "layer"),
    [
        ("lycoris_" + kohya(LAYER, ""), "unet", kohya(LAYER, "")),
        ("lycoris_unet_" + kohya(LAYER, ""), "unet", kohya(LAYER, "")),
        ("lycoris_" + kohya(TEXT, ""), "text", "encoder_layers_1_self_attn_q_proj"),
        ("base_model.model." + TEXT, "text", "encoder_layers_1_self_attn_q_proj"),
        ("unet.base_model.model." + LAYER, "unet", kohya(LAYER, "")),
        ("model.diffusion_model.out.2", "unet", "out_2"),
        ("lora_unet_model_diffusion_model_out_2", "unet", "out_2"),
        ("clip_l." + TEXT, "text", "encoder_layers_1_self_attn_q_proj"),
        ("clip_g." + TEXT, "text_2", "encoder_layers_1_self_attn_q_proj"),
        (f"text_encoders.clip_g.transformer.{TEXT}", "text_2", "encoder_layers_1_self_attn_q_proj"),
    ],
)
def test_prefixes_of_other_tools_name_the_network(key: str, target: str, layer: str) -> None:
    (change,) = parse_lora_keys("lora", [f"{key}.lora_up.weight"]).changes
    assert (change.target, change.layer) == (target, layer)


def test_every_part_that_is_not_used_is_reported(
    tiny: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fits = pair(f"unet.{LAYER}", weights_of(tiny.model)[f"{LAYER}.weight"])
    others = {
        "an unknown key": {"controlnet.zero.lora_A.weight": random(2, 4)},
        "an unknown layer": pair("unet.down_blocks.9.conv", random(4, 4)),
        "no such bias": {"unet.down_blocks.1.attentions.0.norm.diff_c": random(4)},
        "a second key": {f"{kohya(LAYER)}.lora_up.weight": random(64, 2)},
        "an unused role": {f"unet.{LAYER}.rescale": random(1)},
        "an alpha alone": {"unet.conv_in.alpha": torch.tensor(1.0)},
    }
    for what, tensors in others.items():
        caplog.clear()
        file = write(tmp_path / "f.safetensors", fits | tensors)
        with_lora(tiny.model, file, 1.0)
        assert len(tensors) == int(caplog.messages[0].split()[1]), what
    caplog.clear()
    with_lora(tiny.model, write(tmp_path / "g", fits), 1.0)
    assert caplog.messages == []


def test_a_second_text_encoder_that_is_not_there_is_reported(
    tiny: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = pair(f"text_encoder.{TEXT}", random(32, 32)) | pair(
        f"text_encoder_2.{TEXT}", random(32, 32)
    )
    with_clip_lora(tiny.clip, write(tmp_path / "f", tensors), 1.0)
    expected = f"f: 2 tensors are not used, such as text_encoder_2.{TEXT}.lora_A.weight"
    assert caplog.messages == [expected]


def test_a_layer_of_rank_0_changes_nothing() -> None:
    weight = random(6, 5)
    roles = {"up": random(6, 0), "down": random(0, 5), "alpha": torch.tensor(2.0)}
    assert torch.equal(apply_change(weight, roles, 1.0), weight)
    window = random(6, 5, 3, 3)
    roles |= {"up": random(6, 0, 1, 1), "down": random(0, 5, 3, 3)}
    assert torch.equal(apply_change(window, roles, 1.0), window)


def test_factors_are_multiplied_before_they_scale_the_product() -> None:
    weight, up, down = random(64, 48), random(64, 4, seed=1), random(4, 48, seed=2)
    roles = {"up": up, "down": down, "alpha": torch.tensor(0.7)}
    factor = 0.3 * (float(roles["alpha"]) / 4)
    assert torch.equal(apply_change(weight, roles, 0.3), weight + factor * (up @ down))


def test_a_dora_of_rows_measures_them_after_its_change() -> None:
    weight, lengths = random(6, 5, 3, 3), torch.rand(6) + 0.5
    up, down = random(6, 2, 1, 1, seed=1), random(2, 5, 3, 3, seed=2)
    roles = {"up": up, "down": down, "dora_scale": lengths}
    got = apply_change(weight, roles, 1.0)
    torch.testing.assert_close(got.flatten(1).norm(dim=1), lengths)
    changed = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    before = weight.flatten(1).norm(dim=1)
    as_comfyui = apply_change(weight, roles, 1.0, "0.3.64")
    torch.testing.assert_close(as_comfyui, changed * (lengths / before).reshape(6, 1, 1, 1))
