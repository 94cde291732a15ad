"""Flux.1: every form of file is one network; the same latents as diffusers' pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.errors import ModelFileError, SamplingError, UnsuitableValueError
from latentloom.diffusion.families.flux import DEV, SCHNELL
from latentloom.diffusion.families.flux_keys import flux_sizes, original_layers
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.weights.detect import check_unet_file
from latentloom.diffusion.weights.listing import describe_model
from latentloom.diffusion.weights.lora_file import detect_lora_family

CONFIG: dict[str, Any] = {
    "in_channels": 64, "out_channels": 64, "num_layers": 1, "num_single_layers": 1,
    "attention_head_dim": 128, "num_attention_heads": 1, "joint_attention_dim": 32,
    "pooled_projection_dim": 24, "guidance_embeds": True,
}  # fmt: skip
PLAN = SamplePlan(3, 3, 1.0, "euler", "simple")


def make(**changes: Any) -> FluxTransformer2DModel:
    torch.manual_seed(1)
    return FluxTransformer2DModel(**CONFIG | changes).eval()


def original_keys(module: FluxTransformer2DModel, prefix: str = "") -> dict[str, Tensor]:
    """Return the network's weights under the original code's names."""
    weights = module.state_dict()
    layers = original_layers({name.rpartition(".")[0] for name in weights})
    tensors = {}
    for theirs, layer in layers.items():
        for kind in ("weight", "bias"):
            if f"{layer.names[0]}.{kind}" not in weights:
                continue
            joined = torch.cat([weights[f"{name}.{kind}"] for name in layer.names])
            joined = torch.cat(joined.chunk(2)[::-1]) if layer.is_swapped else joined
            is_norm = theirs.endswith(("query_norm", "key_norm"))
            tensors[f"{prefix}{theirs}.{'scale' if is_norm else kind}"] = joined
    return tensors


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def prompt(seed: int = 0, tokens: int = 5, width: int = 32) -> PromptEntry:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(1, tokens, width, generator=generator)
    return PromptEntry(numbers, torch.randn(1, 24, generator=generator))


def run(model: Model, plan: SamplePlan = PLAN) -> Tensor:
    latent = Latent(torch.zeros(1, 16, 4, 6))
    return sample(model, latent, (prompt(),), (prompt(1),), plan).samples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("flux") / "bare.safetensors"
    return load_unet(write(path, original_keys(make())))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusers"])
def test_every_form_of_file_is_the_same_network(prefix: str, model: Model, tmp_path: Path) -> None:
    module = make()
    is_ours = prefix == "diffusers"
    tensors = module.state_dict() if is_ours else original_keys(module, prefix)
    other = load_unet(write(tmp_path / "f.safetensors", tensors))
    assert other.family == model.family
    weights, expected = other.weights.module.state_dict(), model.weights.module.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_sizes_are_those_of_the_network() -> None:
    parameters = {name: value.numel() for name, value in make().named_parameters()}
    assert dict(flux_sizes(CONFIG)) == parameters


@pytest.mark.parametrize(
    ("changes", "form", "channels"),
    [
        ({}, "dev", 16),
        ({"guidance_embeds": False}, "schnell", 16),
        ({"in_channels": 384}, "fill", 96),
        ({"in_channels": 128}, "control", 32),
    ],
)
def test_the_form_follows_from_the_shapes(
    changes: dict[str, Any], form: str, channels: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "f.safetensors", original_keys(make(**changes)))
    check_unet_file(path)
    family = load_unet(path).family
    assert (family.name, family.form, family.in_channels) == ("flux", form, channels)
    assert family.flow == (SCHNELL if form == "schnell" else DEV)
    description = describe_model(path)
    assert (description.holds, description.family) == ("network", f"flux {form}")


def test_input_channels_of_no_form_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.safetensors", original_keys(make(in_channels=192)))
    with pytest.raises(ModelFileError, match="in_channels: expected one of 64, 128, 384, got 192"):
        check_unet_file(path)


def test_a_missing_weight_is_named_before_loading(tmp_path: Path) -> None:
    tensors = original_keys(make())
    del tensors["double_blocks.0.img_attn.qkv.bias"]
    path = write(tmp_path / "f.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"lacks the weights transformer_blocks\.0\.attn"):
        check_unet_file(path)


def test_prompts_of_another_family_are_refused(model: Model) -> None:
    latent = Latent(torch.zeros(1, 16, 4, 4))
    with pytest.raises(SamplingError, match="expected conditioning of width 32, got 77"):
        sample(model, latent, (prompt(width=77),), (), PLAN)


def test_latents_of_another_space_are_refused(model: Model) -> None:
    with pytest.raises(UnsuitableValueError, match="16 channels, 8 pixels per cell, got 4"):
        sample(model, Latent(torch.ones(1, 4, 4, 4)), (prompt(),), (), PLAN)


def test_an_unknown_reference_method_is_refused(model: Model) -> None:
    reference = torch.zeros(1, 16, 4, 4)
    entry = PromptEntry(
        prompt().tokens, references=(reference,), reference_method="index_timestep_zero"
    )
    with pytest.raises(SamplingError, match="offset, index or uxo/uno, got index_timestep_zero"):
        sample(model, Latent(torch.zeros(1, 16, 4, 4)), (entry,), (), PLAN)


def test_sides_of_equal_length_share_a_call_and_others_do_not(model: Model) -> None:
    from dataclasses import replace

    from latentloom.diffusion.sampling.hooks import SILENT

    latent, calls = Latent(torch.zeros(1, 16, 4, 4)), list[int]()
    hooks = replace(SILENT, on_call=lambda: calls.append(1))
    plan = replace(PLAN, cfg=2.0, steps=1)
    together = sample(model, latent, (prompt(),), (prompt(1),), plan, hooks).samples
    assert len(calls) == 1
    apart = sample(model, latent, (prompt(),), (prompt(1, 7),), plan, hooks).samples
    assert len(calls) == 3
    assert not torch.allclose(together, apart)


def test_lora_files_name_their_family_by_the_width_of_the_blocks(tmp_path: Path) -> None:
    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    for width, family in ((3072, "flux"), (64, None)):
        tensors = {
            f"{layer}.lora_A.weight": torch.zeros(2, width),
            f"{layer}.lora_B.weight": torch.zeros(width, 2),
        }
        assert detect_lora_family(write(tmp_path / "l.safetensors", tensors)) == family
