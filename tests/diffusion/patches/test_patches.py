"""Patches of guidance and of the network: none at their zero, counted, undone after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry
from latentloom.diffusion.errors import SamplingError
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.patch import GuidanceStep, Patch, StepState
from latentloom.diffusion.networks.patching import apply_patches
from latentloom.diffusion.patches.attention_gain import AttentionGain
from latentloom.diffusion.patches.downscale import Downscale
from latentloom.diffusion.patches.freeu import FreeU
from latentloom.diffusion.patches.frequency import FrequencyGuidance
from latentloom.diffusion.patches.latent_operation import OperatedGuidance, Sharpen, Tonemap
from latentloom.diffusion.patches.mahiro import MahiroGuidance
from latentloom.diffusion.patches.perturbed import PerturbedAttention
from latentloom.diffusion.patches.rescale import RescaleGuidance
from latentloom.diffusion.patches.self_attention import SelfAttentionGuidance
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from tests.tiny_model import TEXT_DIM

PLAN = SamplePlan(3, 3, 4.0, "euler", "normal")
START = Latent(torch.zeros(1, 4, 8, 12))
PATCHES: list[Patch] = [
    RescaleGuidance(0.7),
    PerturbedAttention(2.0),
    SelfAttentionGuidance(0.5, 2.0),
    FreeU(1.3, 1.4, 0.9, 0.2),
    FreeU(1.1, 1.2, 0.9, 0.2, version=1),
    AttentionGain(1.1, 0.9, 1.2, 0.95),
    FrequencyGuidance(1.0, 1.25, 2),
    Downscale(3, 2.0, start=0.0, end=1.0),
    Downscale(1, 2.0, start=0.0, end=1.0, up="bislerp"),
    Downscale(2, 1.5, start=0.0, end=1.0, after_skip=False),
]
NEUTRAL: list[Patch] = [
    RescaleGuidance(0.0),
    PerturbedAttention(0.0),
    SelfAttentionGuidance(0.0),
    FreeU(1.0, 1.0, 1.0, 1.0),
    FreeU(1.0, 1.0, 1.0, 1.0, version=1),
    AttentionGain(),
    FrequencyGuidance(1.0, 1.0, 2),
    Downscale(3, 1.0),
    Downscale(32),
    Downscale(2, 1.0, after_skip=False),
]
NAMES = [
    "rescale",
    "perturbed",
    "self-attention",
    "freeu 2",
    "freeu 1",
    "attention gain",
    "frequency",
    "downscale last",
    "downscale first",
    "downscale with skip",
]


def prompt(seed: int) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return (PromptEntry(torch.randn(1, 77, TEXT_DIM, generator=generator)),)


def run(model: Model, plan: SamplePlan = PLAN, *patches: Patch) -> Tensor:
    model = replace(model, patches=patches)
    return sample(model, START, prompt(1), prompt(2), plan).samples


def predict(model: Model, *patches: Patch) -> Tensor:
    """Predict once under patches."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with model.weights.use(patches, StepState(model.sampling)):
        tokens = prompt(1)[0].tokens.expand(2, -1, -1)
        return model.weights.predict(x, torch.tensor([7.0, 7.0]), tokens).clone()


@pytest.mark.parametrize("patch", PATCHES, ids=NAMES)
def test_a_patch_changes_the_image_and_leaves_the_model(tiny: Checkpoint, patch: Patch) -> None:
    plain = run(tiny.model)
    got = run(tiny.model, PLAN, patch)
    assert bool(torch.isfinite(got).all())
    assert not torch.allclose(got, plain, atol=1e-3 * float(plain.std()))
    assert torch.equal(run(tiny.model), plain)


@pytest.mark.parametrize("patch", NEUTRAL, ids=NAMES)
def test_a_neutral_patch_changes_nothing(tiny: Checkpoint, patch: Patch) -> None:
    plain = run(tiny.model)
    assert torch.allclose(run(tiny.model, PLAN, patch), plain, atol=1e-3 * float(plain.std()))


def test_fingerprints_of_patches_are_their_values() -> None:
    prints = [patch.fingerprint for patch in (*PATCHES, *NEUTRAL)]
    assert len({*prints}) == len(prints)
    assert RescaleGuidance(0.7).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("patch", "cfg", "calls"),
    [
        (RescaleGuidance(), 4.0, 3),
        (PerturbedAttention(), 4.0, 6),
        (PerturbedAttention(), 1.0, 6),
        (SelfAttentionGuidance(), 4.0, 6),
        (SelfAttentionGuidance(), 1.0, 6),
    ],
)
def test_the_model_calls_of_a_patch(tiny: Checkpoint, patch: Patch, cfg: float, calls: int) -> None:
    model = replace(tiny.model, patches=(patch,))
    latent = sample(model, START, prompt(1), prompt(2), replace(PLAN, cfg=cfg))
    assert latent.passes[-1].model_calls == calls


def step(cfg: float) -> GuidanceStep:
    generator = torch.Generator().manual_seed(2)
    x, positive, negative = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    state, nothing = StepState(ModelSampling()), torch.nn.Identity()
    denoise: Any = None
    return GuidanceStep(
        x=x * 5,
        sigma=torch.tensor(3.0),
        positive=positive,
        negative=negative,
        cfg=cfg,
        denoise=denoise,
        network=nothing,
        state=state,
    )


def velocity(given: GuidanceStep, denoised: Tensor) -> Tensor:
    """Return v of arXiv 2202.00512: alpha eps - sigma x0, in VP form."""
    alpha = 1 / (1 + given.sigma**2) ** 0.5
    noise = (given.x - denoised) / given.sigma
    return alpha * noise - given.sigma * alpha * denoised


def test_a_rescaled_velocity_has_the_standard_deviation_of_the_positive_one() -> None:
    given = step(7.5)
    guided = velocity(given, RescaleGuidance(1.0).mix(given))
    expected = velocity(given, given.positive)
    axes = (1, 2, 3)
    torch.testing.assert_close(guided.std(axes), expected.std(axes), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_rescaling_equals_diffusers() -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    given = step(7.5)
    plain = given.negative + 7.5 * (given.positive - given.negative)
    expected = rescale_noise_cfg(velocity(given, plain), velocity(given, given.positive), 0.7)
    got = velocity(given, RescaleGuidance(0.7).mix(given))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_freeu_changes_a_blocks_input_as_diffusers_does() -> None:
    from diffusers.utils.torch_utils import apply_freeu

    features, skip = torch.randn(2, 8, 6, 6), torch.randn(2, 4, 6, 6)
    gains = {"b1": 1.5, "s1": 0.3, "b2": 1.0, "s2": 1.0}
    expected = torch.cat(apply_freeu(0, features.clone(), skip, **gains), dim=1)
    hook = FreeU(1.5, 1.0, 0.3, 1.0, version=1)._make_hook(8, 1.5, 0.3)
    got, rest = hook(torch.nn.Identity(), (torch.cat([features, skip], dim=1), "rest"))
    torch.testing.assert_close(got, expected)
    assert rest == "rest"


def test_freeu_acts_where_features_have_two_or_four_times_the_channels(tiny: Checkpoint) -> None:
    plain = predict(tiny.model)
    lower = predict(tiny.model, FreeU(1.5, 1.0, 0.3, 1.0, version=1))
    upper = predict(tiny.model, FreeU(1.0, 1.5, 1.0, 0.3, version=1))
    assert torch.allclose(lower, plain, atol=1e-4)
    assert not torch.allclose(upper, plain, atol=1e-2)


def test_freeu_gains_follow_the_features_between_1_and_b() -> None:
    features = torch.randn(2, 8, 6, 6)
    gain = FreeU(1.0, 1.0, 1.0, 1.0)._gain(features, 1.4)
    assert isinstance(gain, Tensor)
    assert float(gain.min()) == pytest.approx(1.0)
    assert float(gain.max()) == pytest.approx(1.4)


def test_perturbed_attention_returns_the_value_of_each_token(tiny: Checkpoint) -> None:
    from latentloom.diffusion.networks.attention import find_middle_attentions
    from latentloom.diffusion.patches.perturbed import _own_values

    (layer,) = find_middle_attentions(tiny.model.weights.module)
    hidden = torch.randn(1, 5, 64)
    alone = layer(hidden[:, :1])
    torch.testing.assert_close(_own_values(layer, hidden)[:, :1], alone)


def test_a_model_without_attention_in_its_middle_block_is_rejected(tiny: Checkpoint) -> None:
    given = replace(step(2.0), network=torch.nn.ModuleDict({"mid_block": torch.nn.Identity()}))
    with pytest.raises(SamplingError, match="attention in its middle block"):
        PerturbedAttention().post_cfg(given, given.x)


def test_attention_gains_multiply_their_projections(tiny: Checkpoint) -> None:
    module = tiny.model.weights.module
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    before = module.get_parameter(name).clone()
    with apply_patches(module, [AttentionGain(q=1.5), AttentionGain(q=2.0)]):
        assert torch.allclose(module.get_parameter(name), before * 3)
    assert torch.equal(module.get_parameter(name), before)


def test_network_patches_are_undone_after_a_failure(tiny: Checkpoint) -> None:
    model = tiny.model
    before = predict(model)
    patches = (FreeU(1.3, 1.4, 0.9, 0.2), SelfAttentionGuidance())
    with (
        pytest.raises(RuntimeError, match="stop"),
        model.weights.use(patches, StepState(model.sampling)),
    ):
        raise RuntimeError("stop")
    assert torch.equal(predict(model), before)


def test_patches_are_applied_in_their_order(tiny: Checkpoint) -> None:
    first, second = SelfAttentionGuidance(0.5), PerturbedAttention(2.0)
    one, other = run(tiny.model, PLAN, first, second), run(tiny.model, PLAN, second, first)
    # Both add to the mix, so their order does not matter; that both count does.
    assert torch.allclose(one, other, atol=1e-3 * float(one.std()))
    assert not torch.allclose(one, run(tiny.model, PLAN, first), atol=1e-3 * float(one.std()))


def test_low_and_high_frequencies_have_their_own_gains() -> None:
    positions = torch.arange(16.0)
    low, high = torch.cos(positions * torch.pi / 8), torch.cos(positions * torch.pi)
    given = replace(step(3.0), negative=torch.zeros(1, 4, 16, 16))
    given = replace(given, positive=(low + high).expand(1, 4, 16, 16))
    positive, negative = FrequencyGuidance(0.5, 2.0, 3).pre_cfg(given)
    torch.testing.assert_close(positive, (0.5 * low + 2.0 * high).expand(1, 4, 16, 16))
    assert not negative.any()


def test_a_downscale_acts_in_its_range_only(tiny: Checkpoint) -> None:
    sizes: list[tuple[int, ...]] = []

    def record(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(tuple(inputs[0].shape[-2:]))

    middle = tiny.model.weights.module.get_submodule("mid_block.resnets.1")
    hook = middle.register_forward_pre_hook(record)
    try:
        run(tiny.model, replace(PLAN, steps=4), Downscale(3, 2.0, start=0.0, end=0.5))
    finally:
        hook.remove()
    # Steps at timesteps 999, 666, 333 and 0: two of them are in the first half.
    assert sizes == [(2, 3), (2, 3), (4, 6), (4, 6)]


def test_mahiro_is_guidance_where_both_sides_agree() -> None:
    given = step(5.0)
    given = replace(given, negative=given.positive * 0.5)
    guided = given.negative + 5.0 * (given.positive - given.negative)
    torch.testing.assert_close(MahiroGuidance().post_cfg(given, guided), guided)


def test_mahiro_is_the_positive_side_where_the_negative_is_opposite() -> None:
    given = step(5.0)
    given = replace(given, negative=given.positive * -0.5)
    guided = given.negative + 5.0 * (given.positive - given.negative)
    got = MahiroGuidance().post_cfg(given, guided)
    torch.testing.assert_close(got, given.positive * 5.0)


def test_mahiro_averages_over_the_batch_as_comfyui_does() -> None:
    given = step(5.0)
    signs = torch.tensor([0.5, -0.5]).view(2, 1, 1, 1)
    given = replace(given, negative=given.positive * signs)
    guided = given.negative + 5.0 * (given.positive - given.negative)
    got = MahiroGuidance().post_cfg(given, guided)
    # One agrees completely, the other not at all, so that each counts half.
    torch.testing.assert_close(got, (guided + given.positive * 5.0) / 2)


@pytest.mark.parametrize("alone", [True, False])
def test_an_operation_changes_the_difference_of_the_sides(alone: bool) -> None:
    given, operation = step(4.0), Sharpen(2, 1.0, 0.5)
    given = replace(given, negative=given.positive) if alone else given
    added = given.positive if alone else given.positive - given.negative
    unchanged = torch.zeros_like(added) if alone else given.negative
    positive, _ = OperatedGuidance(operation).pre_cfg(given)
    assert torch.equal(positive, operation(added) + unchanged)
    assert not torch.allclose(positive, given.positive)


def test_no_length_passes_the_white_point_of_tone_mapping() -> None:
    samples = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2)) * 30
    mapped = Tonemap(0.5)(samples)
    lengths = [torch.linalg.vector_norm(latent, dim=1) for latent in (samples, mapped)]
    white = 0.5 * (lengths[0].mean((1, 2)) + 5 * lengths[0].std((1, 2)))
    assert (lengths[1] < white.view(-1, 1, 1)).all()
    assert torch.allclose(samples / lengths[0][:, None], mapped / lengths[1][:, None], atol=1e-5)
