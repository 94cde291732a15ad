"""Flux.1 gives the latents of diffusers' own pipelines on the same small random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxKontextPipeline,
    FluxPipeline,
)
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.closeness import largest_error
from tests.diffusion.families.test_flux import make, prompt, write

# A number of steps whose sigmas are in the table of 10,000.
PLAN = SamplePlan(3, 4, 1.0, "euler", "simple")
HEIGHT, WIDTH = 32, 48
SHAPE = (1, 16, HEIGHT // 8, WIDTH // 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = tmp_path_factory.mktemp("flux") / "f.safetensors"
    return load_unet(write(path, make().state_dict()))


def run(kind: Any, model: Model, entry: PromptEntry, **options: Any) -> Tensor:
    """Return the latents of a pipeline as B×C×h×w, in the space that the network samples in."""
    mu = math.log(model.family.flow.shift) if model.family.flow else 0.0
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=mu, max_shift=mu
    )
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = kind(scheduler=scheduler, transformer=model.weights.module, **parts)
    pipeline.set_progress_bar_config(disable=True)
    packed: Tensor = pipeline(
        prompt_embeds=entry.tokens,
        pooled_prompt_embeds=entry.pooled,
        height=HEIGHT,
        width=WIDTH,
        guidance_scale=entry.guidance,
        num_inference_steps=PLAN.steps,
        output_type="latent",
        **options,
    ).images
    unpacked: Tensor = pipeline._unpack_latents(packed, HEIGHT, WIDTH, 8)
    return unpacked


def pack(latent: Tensor) -> Tensor:
    pack_latents: Callable[..., Tensor] = FluxPipeline._pack_latents
    return pack_latents(latent, 1, 16, *SHAPE[2:])


def test_text_to_image_is_the_pipelines(model: Model) -> None:
    entry = replace(prompt(), guidance=2.5)
    noise = start_noise(SHAPE, PLAN.seed)
    expected = run(FluxPipeline, model, entry, latents=pack(noise))
    got = sample(model, Latent(torch.zeros(SHAPE)), (entry,), (), PLAN).samples
    assert largest_error(model.family.to_model(got), expected) < 1e-4


def test_image_to_image_is_the_pipelines(model: Model) -> None:
    entry = replace(prompt(), guidance=3.5)
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(PLAN.seed)
    expected = run(
        FluxImg2ImgPipeline, model, entry, image=image, strength=0.5, generator=generator
    )
    plan = replace(PLAN, steps=2, denoise=0.5)
    got = sample(model, Latent(model.family.to_vae(image)), (entry,), (), plan).samples
    assert largest_error(model.family.to_model(got), expected) < 1e-4


def test_a_reference_image_is_kontexts(model: Model) -> None:
    entry = replace(prompt(), guidance=2.5)
    reference = torch.randn(1, 16, 6, 4, generator=torch.Generator().manual_seed(9))
    noise = start_noise(SHAPE, PLAN.seed)
    expected = run(
        FluxKontextPipeline,
        model,
        entry,
        image=reference,
        latents=pack(noise),
        max_area=HEIGHT * WIDTH,
    )
    entry = replace(entry, references=(model.family.to_vae(reference),))
    got = sample(model, Latent(torch.zeros(SHAPE)), (entry,), (), PLAN).samples
    assert largest_error(model.family.to_model(got), expected) < 1e-4
