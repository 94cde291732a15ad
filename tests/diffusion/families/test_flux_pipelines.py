"""Flux.1 gives the latents of diffusers' own pipelines on the same small random weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxImg2ImgPipeline,
    FluxKontextPipeline,
    FluxPipeline,
)
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.errors import SamplingError
from latentloom.diffusion.families.flux import FLUX
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.control import Control
from latentloom.diffusion.networks.control_load import load_control
from latentloom.diffusion.networks.handles import Model, Vae
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.networks.weights import VaeWeights
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.weights.control_file import check_control
from tests.closeness import largest_error
from tests.diffusion.families.test_flux import CONFIG, make, prompt, write

# A number of steps whose sigmas are in the table of 10,000.
PLAN = SamplePlan(3, 4, 1.0, "euler", "simple")
HEIGHT, WIDTH = 32, 48
SHAPE = (1, 16, HEIGHT // 8, WIDTH // 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = tmp_path_factory.mktemp("flux") / "f.safetensors"
    return load_unet(write(path, make().state_dict()))


def run(
    kind: Any,
    model: Model,
    entry: PromptEntry,
    *,
    parts: dict[str, Any] | None = None,
    **options: Any,
) -> Tensor:
    """Return the latents of a pipeline as B×C×h×w, in the space that the network samples in."""
    mu = math.log(model.family.flow.shift) if model.family.flow else 0.0
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=mu, max_shift=mu
    )
    absent = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = kind(scheduler=scheduler, transformer=model.weights.module, **absent | (parts or {}))
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


def make_vae(width: int = 8) -> AutoencoderKL:
    """Make a small autoencoder whose posterior is its mean."""
    torch.manual_seed(5)
    vae = AutoencoderKL(
        latent_channels=16, block_out_channels=(width,) * 4, norm_num_groups=min(32, width),
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611,
        shift_factor=0.1159,
    )  # fmt: skip
    with torch.no_grad():
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = -60
    return vae.eval()


def make_control(**changes: Any) -> FluxControlNetModel:
    torch.manual_seed(6)
    config = {name: value for name, value in CONFIG.items() if name != "out_channels"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of diffusers about itself
        control = FluxControlNetModel(**config | changes)
    with torch.no_grad():
        for parameter in control.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return control.eval()


@pytest.mark.parametrize("modes", [None, 5])
def test_a_controlnet_is_the_pipelines(modes: int | None, model: Model, tmp_path: Path) -> None:
    control, vae = make_control(num_mode=modes), make_vae()
    path = write(tmp_path / "c.safetensors", control.state_dict())
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(4))
    entry, noise = replace(prompt(), guidance=3.5), start_noise(SHAPE, PLAN.seed)
    expected = run(
        FluxControlNetPipeline,
        model,
        entry,
        parts={"vae": vae, "controlnet": control},
        latents=pack(noise),
        control_image=image.movedim(-1, 1) * 2 - 1,
        controlnet_conditioning_scale=0.7,
        control_mode=modes and 3,
    )
    check_control(path)
    net = replace(load_control(path), kind=3)
    handle = Vae(VaeWeights(vae, "vae"), FLUX)
    controls = (Control(net, image, strength=0.7, vae=handle),)
    empty = Latent(torch.zeros(SHAPE))
    got = sample(model, empty, (replace(entry, controls=controls),), (), PLAN).samples
    assert net.family.name == model.family.name
    assert net.weights.kind_count == modes
    assert largest_error(model.family.to_model(got), expected) < 1e-4
    without = sample(model, empty, (entry,), (), PLAN).samples
    assert largest_error(got, without) > 1e-2


def test_a_controlnet_acts_beside_references_and_with_another(model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "c.safetensors", make_control(num_single_layers=0).state_dict())
    handle, image = Vae(VaeWeights(make_vae(), "vae"), FLUX), torch.rand(1, HEIGHT, WIDTH, 3)
    half = Control(load_control(path), image, strength=0.5, vae=handle)
    once = replace(half, strength=1.0)
    entry = replace(prompt(), references=(torch.zeros(1, 16, 2, 2),))
    results = [
        sample(
            model,
            Latent(torch.zeros(SHAPE)),
            (replace(entry, controls=controls),),
            (),
            replace(PLAN, steps=1),
        ).samples
        for controls in ((half, half), (once,))
    ]
    assert largest_error(*results) < 1e-4


def test_a_controlnet_without_a_vae_says_what_to_connect(model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "c.safetensors", make_control().state_dict())
    control = Control(load_control(path), torch.rand(1, HEIGHT, WIDTH, 3))
    entry = replace(prompt(), controls=(control,))
    with pytest.raises(SamplingError, match="connect the VAE to ControlNetApplyAdvanced"):
        sample(model, Latent(torch.zeros(SHAPE)), (entry,), (), PLAN)
