"""Merged models: closed forms of their weights, LoRAs of both; the originals stay as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.latents.latents import make_empty
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.lora import LoraPatch, WeightChange
from latentloom.diffusion.networks.merging import add, blend, subtract
from latentloom.diffusion.networks.patching import apply_patches
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.tiny_model import write_tiny_model

PLAN = SamplePlan(3, 2, 4.0, "euler", "normal")
IN, MIDDLE, OUT = "conv_in.weight", "mid_block.resnets.0.conv1.weight", "conv_out.bias"
DOWN, UP = "down_blocks.0.resnets.0.conv1.weight", "up_blocks.0.resnets.0.conv1.weight"
TIME = "time_embedding.linear_1.weight"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    folder = tmp_path_factory.mktemp("pair")
    first, second = (load_checkpoint(write_tiny_model(folder / f"{n}", seed=n)) for n in (1, 2))
    return first, second


def weights(model: Model, *, used: bool = False) -> dict[str, Tensor]:
    """Return the parameters of a model: those of its file, or those under its patches."""
    module = model.weights.module
    with apply_patches(module, model.patches if used else ()):
        return {name: value.clone() for name, value in module.named_parameters()}


def test_a_blend_is_the_weighted_mean_of_both(pair: tuple[Checkpoint, Checkpoint]) -> None:
    first, second = pair[0].model, pair[1].model
    a, b = weights(first), weights(second)
    merged = weights(blend(first, second, 0.25, 0.25, 0.25), used=True)
    assert all(torch.allclose(merged[name], a[name] * 0.25 + b[name] * 0.75) for name in a)
    assert all(torch.equal(value, a[name]) for name, value in weights(first).items())


def test_each_part_of_the_network_has_its_own_share(pair: tuple[Checkpoint, Checkpoint]) -> None:
    first, second = pair[0].model, pair[1].model
    a, b = weights(first), weights(second)
    merged = weights(blend(first, second, 1.0, 0.5, 0.0), used=True)
    assert all(torch.equal(merged[name], a[name]) for name in (IN, DOWN, TIME))
    assert torch.allclose(merged[MIDDLE], (a[MIDDLE] + b[MIDDLE]) / 2)
    assert all(torch.equal(merged[name], b[name]) for name in (UP, OUT))


def test_a_difference_added_to_its_base_is_the_original(
    pair: tuple[Checkpoint, Checkpoint],
) -> None:
    first, second = pair[0].model, pair[1].model
    b = weights(second)
    back = weights(add(first, subtract(second, first, 1.0)), used=True)
    assert all(torch.allclose(back[name], b[name], atol=1e-6) for name in b)
    half = weights(subtract(second, first, 0.5), used=True)
    assert torch.allclose(half[UP], (b[UP] - weights(first)[UP]) / 2)


def test_loras_of_both_models_and_of_the_merge_apply_in_order(
    pair: tuple[Checkpoint, Checkpoint],
) -> None:
    first, second = pair[0].model, pair[1].model
    ones = WeightChange({"diff": torch.ones_like(weights(first)[UP])})
    one, two, three = (LoraPatch(f"{n}", float(n), {UP: ones}) for n in (1, 2, 3))
    merged = blend(replace(first, patches=(one,)), replace(second, patches=(two,)), 0.5, 0.5, 0.5)
    got = weights(replace(merged, patches=(*merged.patches, three)), used=True)[UP]
    a, b = weights(first)[UP], weights(second)[UP]
    assert torch.allclose(got, (a + 1 + b + 2) / 2 + 3, atol=1e-6)


def test_a_model_can_be_merged_with_itself_and_a_lora(pair: tuple[Checkpoint, Checkpoint]) -> None:
    model, before = pair[0].model, weights(pair[0].model)
    lora = LoraPatch("l", 1.0, {UP: WeightChange({"diff": torch.ones_like(before[UP])})})
    got = weights(blend(model, replace(model, patches=(lora,)), 0.5, 0.5, 0.5), used=True)
    assert torch.allclose(got[UP], before[UP] + 0.5, atol=1e-6)
    assert torch.allclose(got[OUT], before[OUT])


def test_weights_of_another_shape_stay(pair: tuple[Checkpoint, Checkpoint], tmp_path: Path) -> None:
    nine = load_checkpoint(write_tiny_model(tmp_path / "nine", seed=5, in_channels=9)).model
    own = weights(nine)
    got = weights(add(nine, subtract(pair[0].model, pair[1].model, 1.0)), used=True)
    assert torch.equal(got[IN], own[IN])
    assert torch.allclose(
        got[UP], own[UP] + weights(pair[0].model)[UP] - weights(pair[1].model)[UP], atol=1e-6
    )


def test_a_share_of_0_samples_like_the_second_model(pair: tuple[Checkpoint, Checkpoint]) -> None:
    first, second = pair
    clip = blend(first.clip, second.clip, 0.0, 0.0, 0.0)
    prompt, expected = (encode_text(encoder, "a fox") for encoder in (clip, second.clip))
    assert torch.equal(prompt[0].tokens, expected[0].tokens)
    model = blend(first.model, second.model, 0.0, 0.0, 0.0)
    got, alone = (
        sample(one, make_empty(64, 64), prompt, prompt, PLAN) for one in (model, second.model)
    )
    assert torch.equal(got.samples, alone.samples)


def test_a_share_of_1_changes_no_weight(pair: tuple[Checkpoint, Checkpoint]) -> None:
    (merge,) = blend(pair[0].model, pair[1].model, 1.0, 1.0, 1.0).patches
    assert list(merge.select_names(weights(pair[0].model))) == []  # type: ignore[attr-defined]


def test_fingerprints_of_merges_differ(pair: tuple[Checkpoint, Checkpoint]) -> None:
    first, second = pair[0].model, pair[1].model
    merges = [
        blend(first, second, 0.5, 0.5, 0.5),
        blend(first, second, 0.5, 0.5, 0.4),
        blend(second, first, 0.5, 0.5, 0.5),
        blend(first, first, 0.5, 0.5, 0.5),
        add(first, second),
        subtract(first, second, 1.0),
    ]
    assert len({merge.fingerprint for merge in merges}) == len(merges)
    assert blend(first, second, 0.5, 0.5, 0.5).fingerprint == merges[0].fingerprint
