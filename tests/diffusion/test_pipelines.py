"""Our sampling against diffusers' own pipelines: same weights, same noise, same sigmas.

Four steps of Euler from timesteps 999, 666, 333 and 0, which both schedules contain exactly.
diffusers starts from noise times sigma, and we from noise times sqrt(sigma² + 1), as ComfyUI
does; the noise passed to the pipelines makes up for that.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.latents.latents import Latent, make_empty
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.vae import decode, encode
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.tiny_model import write_tiny_sdxl

SEED, CFG, SIDE = 11, 5.0, 64
TOLERANCE = 1e-4  # of an image's range 0..1, after four steps in float32


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny")


@pytest.fixture(scope="module")
def sdxl(sdxl_folder: Path) -> Checkpoint:
    return load_checkpoint(sdxl_folder)


def make_pipeline(name: str, model: Checkpoint, **parts: Any) -> Any:
    """Return a pipeline of the same networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers

        scheduler = diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="linspace",
            prediction_type="epsilon",
        )
        modules: dict[str, Any] = {
            "unet": model.model.weights.module,
            "vae": model.vae.weights.module,
        }
        for part in ("text_encoder", "tokenizer", *parts):
            modules.setdefault(part, parts.get(part))
        pipe = getattr(diffusers, name)(**modules, scheduler=scheduler)
        pipe.set_progress_bar_config(disable=True)
    return pipe


def encode_prompts(model: Checkpoint) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """Return positive, negative, and both as arguments of a pipeline."""
    positive, negative = encode_text(model.clip, "a red fox"), encode_text(model.clip, "blurry")
    arguments = {
        "prompt_embeds": positive[0].tokens,
        "negative_prompt_embeds": negative[0].tokens,
    }
    return positive, negative, arguments


def pooled_of(conditioning: Conditioning) -> Tensor:
    pooled = conditioning[0].pooled
    assert pooled is not None
    return pooled


def run(pipe: Any, **options: Any) -> Tensor:
    options = {"guidance_scale": CFG, "num_inference_steps": 4, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images: Tensor = pipe(output_type="pt", **options).images
    return images.movedim(1, -1)


def scaled_noise(model: Checkpoint) -> Tensor:
    """Return the noise of a run, scaled so that a pipeline starts where we do."""
    sigma_max = model.model.sampling.sigma_max
    return start_noise((1, 4, SIDE // 8, SIDE // 8), SEED) * math.hypot(sigma_max, 1.0) / sigma_max


def plan(steps: int = 4, denoise: float = 1.0) -> SamplePlan:
    return SamplePlan(SEED, steps, CFG, "euler", "normal", denoise)


def photo() -> Tensor:
    return torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(3))


SD = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def test_txt2img_equals_the_pipeline(tiny: Checkpoint) -> None:
    positive, negative, arguments = encode_prompts(tiny)
    latent = sample(tiny.model, make_empty(SIDE, SIDE), positive, negative, plan())
    pipe = make_pipeline("StableDiffusionPipeline", tiny, **SD)
    expected = run(pipe, latents=scaled_noise(tiny), height=SIDE, width=SIDE, **arguments)
    assert torch.allclose(decode(tiny.vae, latent), expected, atol=TOLERANCE)


def test_img2img_equals_the_pipeline_with_denoise_as_its_strength(tiny: Checkpoint) -> None:
    positive, negative, arguments = encode_prompts(tiny)
    source = encode(tiny.vae, photo())
    latent = sample(tiny.model, source, positive, negative, plan(2, 0.5))
    pipe = make_pipeline("StableDiffusionImg2ImgPipeline", tiny, **SD)
    scaled = source.samples * tiny.model.family.space.read_scale()
    generator = torch.Generator().manual_seed(SEED)
    expected = run(pipe, image=scaled, strength=0.5, generator=generator, **arguments)
    assert torch.allclose(decode(tiny.vae, latent), expected, atol=TOLERANCE)


def right_half() -> Tensor:
    """Return a mask of the right half."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :, SIDE // 2 :] = 1.0
    return mask


def inpaint_arguments(model: Checkpoint, source: Latent, mask: Tensor) -> dict[str, Any]:
    """Return the arguments of a pipeline that inpaints with half of the steps."""
    scaled = source.samples * model.model.family.space.read_scale()
    return {
        "image": scaled,
        "masked_image_latents": scaled,
        "mask_image": mask[:, None],
        "strength": 0.5,
        "generator": torch.Generator().manual_seed(SEED),
        "height": SIDE,
        "width": SIDE,
    }


def test_inpaint_equals_the_pipeline(tiny: Checkpoint) -> None:
    positive, negative, arguments = encode_prompts(tiny)
    source, mask = encode(tiny.vae, photo()), right_half()
    masked = Latent(source.samples, noise_mask=mask)
    latent = sample(tiny.model, masked, positive, negative, plan(2, 0.5))
    pipe = make_pipeline("StableDiffusionInpaintPipeline", tiny, **SD)
    expected = run(pipe, **inpaint_arguments(tiny, source, mask), **arguments)
    assert torch.allclose(decode(tiny.vae, latent), expected, atol=TOLERANCE)


def encode_sdxl_prompts(
    sdxl: Checkpoint,
) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """Return positive, negative, and both as arguments of a pipeline, with pooled encodings."""
    positive, negative, arguments = encode_prompts(sdxl)
    return (
        positive,
        negative,
        arguments
        | {
            "pooled_prompt_embeds": pooled_of(positive),
            "negative_pooled_prompt_embeds": pooled_of(negative),
        },
    )


def make_sdxl_pipeline(name: str, sdxl: Checkpoint) -> Any:
    second = sdxl.clip.weights.encoders[1].module
    return make_pipeline(name, sdxl, tokenizer_2=None, text_encoder_2=second)


def test_sdxl_txt2img_equals_the_pipeline(sdxl: Checkpoint) -> None:
    positive, negative, arguments = encode_sdxl_prompts(sdxl)
    latent = sample(sdxl.model, make_empty(SIDE, SIDE), positive, negative, plan())
    pipe = make_sdxl_pipeline("StableDiffusionXLPipeline", sdxl)
    expected = run(pipe, latents=scaled_noise(sdxl), height=SIDE, width=SIDE, **arguments)
    assert torch.allclose(decode(sdxl.vae, latent), expected, atol=TOLERANCE)


def test_sdxl_img2img_equals_the_pipeline(sdxl: Checkpoint) -> None:
    positive, negative, arguments = encode_sdxl_prompts(sdxl)
    source = encode(sdxl.vae, photo())
    latent = sample(sdxl.model, source, positive, negative, plan(2, 0.5))
    pipe = make_sdxl_pipeline("StableDiffusionXLImg2ImgPipeline", sdxl)
    scaled = source.samples * sdxl.model.family.space.read_scale()
    generator = torch.Generator().manual_seed(SEED)
    expected = run(pipe, image=scaled, strength=0.5, generator=generator, **arguments)
    assert torch.allclose(decode(sdxl.vae, latent), expected, atol=TOLERANCE)


def test_sdxl_inpaint_equals_the_pipeline(sdxl: Checkpoint) -> None:
    positive, negative, arguments = encode_sdxl_prompts(sdxl)
    source, mask = encode(sdxl.vae, photo()), right_half()
    masked = Latent(source.samples, noise_mask=mask)
    latent = sample(sdxl.model, masked, positive, negative, plan(2, 0.5))
    pipe = make_sdxl_pipeline("StableDiffusionXLInpaintPipeline", sdxl)
    expected = run(pipe, **inpaint_arguments(sdxl, source, mask), **arguments)
    assert torch.allclose(decode(sdxl.vae, latent), expected, atol=TOLERANCE)


def test_sdxl_prompts_equal_the_pipeline(sdxl: Checkpoint, sdxl_folder: Path) -> None:
    from transformers import CLIPTokenizer

    first, second = (part.module for part in sdxl.clip.weights.encoders)
    pipe = make_pipeline(
        "StableDiffusionXLPipeline",
        sdxl,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=CLIPTokenizer.from_pretrained(sdxl_folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(sdxl_folder / "tokenizer_2"),
    )
    with torch.inference_mode():
        expected = pipe.encode_prompt("a red fox", do_classifier_free_guidance=False)
    (entry,) = encode_text(sdxl.clip, "a red fox")
    assert torch.allclose(entry.tokens, expected[0], atol=1e-5)
    assert torch.allclose(pooled_of((entry,)), expected[2], atol=1e-5)
