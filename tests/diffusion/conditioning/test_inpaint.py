"""Inpainting: masked latents, the nine channels against diffusers, grey masks by sigma."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning, with_inpaint_mask
from latentloom.diffusion.conditioning.inpaint import (
    encode_for_inpaint,
    encode_for_inpaint_model,
)
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.conditions import InpaintMask
from latentloom.diffusion.families.image_inputs import GREY_LATENT, inpaint_channels
from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.families.space import LatentSpace
from latentloom.diffusion.families.unet import unet_family
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.vae import encode
from latentloom.diffusion.sampling.differential import DifferentialMask
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from tests.tiny_model import write_tiny_model

SCALE = 0.18215


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_tiny_model(tmp_path_factory.mktemp("m") / "nine", in_channels=9))


def photo(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(4))


def box(height: int = 64, width: int = 64) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, 16:40, 8:48] = 1.0
    return mask


def by_diffusers(inpainter: Checkpoint, sides: tuple[Conditioning, Conditioning]) -> Tensor:
    """The same mask, prompt and noise through diffusers' pipeline; a latent in scaled space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionInpaintPipeline

        inpaint = sides[0][0].inpaint
        assert inpaint is not None
        scheduler = DPMSolverMultistepScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            use_karras_sigmas=True,
            timestep_spacing="linspace",
            steps_offset=1,
        )
        pipeline = StableDiffusionInpaintPipeline(
            vae=inpainter.vae.weights.module,
            text_encoder=inpainter.clip.weights.module,
            tokenizer=None,
            unet=inpainter.model.weights.module,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        result: Tensor = pipeline(
            prompt_embeds=sides[0][0].tokens,
            negative_prompt_embeds=sides[1][0].tokens,
            image=photo().movedim(-1, 1),
            mask_image=box()[:, None],
            masked_image_latents=inpaint.latent * SCALE,
            latents=start_noise((1, 4, 8, 8), 3),
            height=64,
            width=64,
            strength=1.0,
            num_inference_steps=4,
            guidance_scale=5.0,
            output_type="latent",
        ).images
        return result


def test_nine_channels_sample_as_diffusers_inpainting_pipeline(inpainter: Checkpoint) -> None:
    clip, vae = inpainter.clip, inpainter.vae
    latent, inpaint = encode_for_inpaint_model(vae, photo(), box())
    positive, negative = (encode_text(clip, text) for text in ("a red fox", ""))
    plan = SamplePlan(seed=3, steps=4, cfg=5.0, sampler="dpmpp_2m", scheduler="karras")
    sides = (with_inpaint_mask(positive, inpaint), with_inpaint_mask(negative, inpaint))
    ours = sample(inpainter.model, Latent(torch.zeros_like(latent.samples)), *sides, plan)

    theirs = by_diffusers(inpainter, sides)
    spread = float(theirs.std())
    assert float((ours.samples * SCALE - theirs).abs().max()) / spread < 1e-4


def test_the_masked_part_is_grey_before_it_is_encoded(tiny: Checkpoint) -> None:
    pixels, mask = photo(), box()
    grey = torch.where(mask[..., None] == 1, 0.5, pixels)
    expected = encode(tiny.vae, grey).samples
    assert torch.equal(encode_for_inpaint_model(tiny.vae, pixels, mask).inpaint.latent, expected)
    assert torch.equal(encode_for_inpaint(tiny.vae, pixels, mask, 6).samples, expected)


def test_the_latent_for_an_inpainting_model_is_that_of_the_unmasked_image(tiny: Checkpoint) -> None:
    latent, _ = encode_for_inpaint_model(tiny.vae, photo(), box() * 0.7)
    assert torch.equal(latent.samples, encode(tiny.vae, photo()).samples)
    assert latent.noise_mask is not None
    assert torch.equal(latent.noise_mask, box() * 0.7)


@pytest.mark.parametrize(("grow", "before", "after"), [(0, 0, 0), (1, 0, 0), (5, 2, 2), (6, 2, 3)])
def test_the_noise_mask_is_grown_with_a_square(
    tiny: Checkpoint, grow: int, before: int, after: int
) -> None:
    mask = encode_for_inpaint(tiny.vae, photo(), box() * 0.8, grow).noise_mask
    expected = torch.zeros(1, 64, 64)
    expected[:, 16 - before : 40 + after, 8 - before : 48 + after] = 1.0
    assert mask is not None
    assert torch.equal(mask, expected)


def test_sizes_are_cropped_to_multiples_of_eight_alike(tiny: Checkpoint) -> None:
    latent, inpaint = encode_for_inpaint_model(tiny.vae, photo(45, 70), torch.ones(1, 9, 9))
    assert latent.samples.shape == inpaint.latent.shape == (1, 4, 5, 8)
    assert inpaint.mask.shape == (1, 40, 64)


def test_without_an_inpaint_mask_the_noise_mask_is_used() -> None:
    x, latent = torch.zeros(2, 4, 8, 8), torch.randn(1, 4, 8, 8)
    double = unet_family("double", space=LatentSpace("double", scale=2.0))
    channels = inpaint_channels(x, None, Latent(latent, box()), double)
    assert channels.shape == (2, 5, 8, 8)
    assert torch.equal(channels[:, 1:], (latent * 2.0).repeat(2, 1, 1, 1))
    assert torch.equal(channels[0, 0], box()[0, ::8, ::8])


def test_a_noise_mask_of_another_aspect_is_stretched_as_in_sampling() -> None:
    mask = torch.zeros(1, 64, 128)
    mask[..., 64:] = 1
    channels = inpaint_channels(
        torch.zeros(1, 4, 8, 8), None, Latent(torch.ones(1, 4, 8, 8), mask), SD15
    )
    assert channels[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_without_any_mask_all_is_masked_and_grey() -> None:
    channels = inpaint_channels(torch.zeros(1, 4, 2, 3), None, Latent(torch.ones(1, 4, 2, 3)), SD15)
    assert bool((channels[:, 0] == 1).all())
    assert channels[0, 1:, 1, 2].tolist() == pytest.approx(GREY_LATENT)


def test_an_inpaint_mask_is_resized_to_the_latent_and_hard() -> None:
    channels = inpaint_channels(
        torch.zeros(1, 4, 4, 4), InpaintMask(box(), torch.randn(1, 4, 8, 8)), None, SD15
    )
    assert channels.shape == (1, 5, 4, 4)
    assert set(channels[0, 0].flatten().tolist()) <= {0.0, 1.0}


def test_the_inpaint_mask_reaches_the_network(inpainter: Checkpoint) -> None:
    prompt = encode_text(inpainter.clip, "a fox")
    plan = SamplePlan(seed=3, steps=2, cfg=1.0, sampler="euler", scheduler="normal")
    results = [
        sample(inpainter.model, Latent(torch.zeros(1, 4, 8, 8), mask), prompt, prompt, plan).samples
        for mask in (None, box(), 1 - box())
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_other_channels_are_rejected_by_name(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "seven", in_channels=7)
    with pytest.raises(ModelFileError, match=r"in_channels.*or 9 \(inpainting\)"):
        load_checkpoint(folder)


def test_a_grey_mask_becomes_hard_later_where_it_is_darker() -> None:
    sampling = ModelSampling()
    sigmas = torch.tensor([*sampling.sigmas[[999, 500, 250, 0]], 0.0])
    mask = torch.tensor([0.0, 0.3, 0.6, 1.0]).reshape(1, 1, 1, 4)
    mask_at = DifferentialMask().schedule(mask, sampling, sigmas)
    rows = [mask_at(sigma).flatten().tolist() for sigma in sigmas[:-1]]
    assert rows == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]


def test_differential_strength_mixes_hard_and_grey() -> None:
    mask = torch.full((1, 1, 1, 1), 0.5)
    sigmas = ModelSampling().sigmas[[999, 0]]
    mask_at = DifferentialMask(0.25).schedule(mask, ModelSampling(), sigmas)
    assert float(mask_at(sigmas[0])) == 0.375
    assert float(mask_at(sigmas[1])) == 0.625


def test_differential_strength_0_is_all_as_in_comfyui() -> None:
    mask, sigmas = torch.full((1, 1, 1, 1), 0.5), ModelSampling().sigmas[[999, 0]]
    mask_at = DifferentialMask(0.0).schedule(mask, ModelSampling(), sigmas)
    assert [float(mask_at(sigma)) for sigma in sigmas] == [0.0, 1.0]


def test_a_run_that_stops_early_has_hardened_by_then() -> None:
    sampling = ModelSampling()
    sigmas = sampling.sigmas[[999, 600, 500]]  # leftover noise: the last sigma is above 0
    mask_at = DifferentialMask().schedule(torch.full((1, 1, 1, 1), 0.21), sampling, sigmas)
    assert [float(mask_at(sigma)) for sigma in sigmas] == [0.0, 1.0, 1.0]


def test_a_run_of_one_sigma_changes_all_that_the_mask_covers() -> None:
    sigma = ModelSampling().sigmas[:1]
    mask_at = DifferentialMask().schedule(torch.zeros(1, 1, 1, 1), ModelSampling(), sigma)
    assert float(mask_at(sigma[0])) == 1.0
