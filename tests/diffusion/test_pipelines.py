"""Our sampling against diffusers' own pipelines: same weights, same noise, same levels.

Four steps of Euler from timesteps 999, 666, 333 and 0, which both schedules hold exactly. Where
diffusers starts from noise times sigma we start from noise times sqrt(sigma² + 1), as ComfyUI
does; the noise that the pipelines are given makes up for that.
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
TOLERANCE = 1e-4  # shares of the image's range, after four steps in float32


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny")


@pytest.fixture(scope="module")
def sdxl(sdxl_folder: Path) -> Checkpoint:
    return load_checkpoint(sdxl_folder)


def pipeline(name: str, model: Checkpoint, **parts: Any) -> Any:
    """A pipeline around the same networks."""
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
        made = getattr(diffusers, name)(**modules, scheduler=scheduler)
        made.set_progress_bar_config(disable=True)
    return made


def prompts(model: Checkpoint) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """Both sides for us, and the same as arguments of a pipeline."""
    positive, negative = encode_text(model.clip, "a red fox"), encode_text(model.clip, "blurry")
    given = {
        "prompt_embeds": positive[0].tokens,
        "negative_prompt_embeds": negative[0].tokens,
    }
    return positive, negative, given


def pooled(conditioning: Conditioning) -> Tensor:
    found = conditioning[0].pooled
    assert found is not None
    return found


def run(pipe: Any, **options: Any) -> Tensor:
    options = {"guidance_scale": CFG, "num_inference_steps": 4, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images: Tensor = pipe(output_type="pt", **options).images
    return images.movedim(1, -1)


def start(model: Checkpoint) -> Tensor:
    """The noise of a run, scaled so that a pipeline starts where we do."""
    top = model.model.sampling.sigma_max
    return start_noise((1, 4, SIDE // 8, SIDE // 8), SEED) * math.hypot(top, 1.0) / top


def plan(steps: int = 4, denoise: float = 1.0) -> SamplePlan:
    return SamplePlan(SEED, steps, CFG, "euler", "normal", denoise)


def photo() -> Tensor:
    return torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(3))


SD = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def test_txt2img_is_the_pipelines(tiny: Checkpoint) -> None:
    positive, negative, given = prompts(tiny)
    latent = sample(tiny.model, make_empty(SIDE, SIDE), positive, negative, plan())
    pipe = pipeline("StableDiffusionPipeline", tiny, **SD)
    want = run(pipe, latents=start(tiny), height=SIDE, width=SIDE, **given)
    assert torch.allclose(decode(tiny.vae, latent), want, atol=TOLERANCE)


def test_img2img_is_the_pipelines_at_the_strength_that_denoise_means(tiny: Checkpoint) -> None:
    positive, negative, given = prompts(tiny)
    source = encode(tiny.vae, photo())
    latent = sample(tiny.model, source, positive, negative, plan(2, 0.5))
    pipe = pipeline("StableDiffusionImg2ImgPipeline", tiny, **SD)
    scaled = source.samples * tiny.model.family.latent_scale
    generator = torch.Generator().manual_seed(SEED)
    want = run(pipe, image=scaled, strength=0.5, generator=generator, **given)
    assert torch.allclose(decode(tiny.vae, latent), want, atol=TOLERANCE)


def right_half() -> Tensor:
    """A mask of the right half."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :, SIDE // 2 :] = 1.0
    return mask


def inpainting(model: Checkpoint, source: Latent, mask: Tensor) -> dict[str, Any]:
    """The arguments of a pipeline that paints half of the steps under a mask."""
    scaled = source.samples * model.model.family.latent_scale
    return {
        "image": scaled,
        "masked_image_latents": scaled,
        "mask_image": mask[:, None],
        "strength": 0.5,
        "generator": torch.Generator().manual_seed(SEED),
        "height": SIDE,
        "width": SIDE,
    }


def test_inpaint_is_the_pipelines(tiny: Checkpoint) -> None:
    positive, negative, given = prompts(tiny)
    source, mask = encode(tiny.vae, photo()), right_half()
    masked = Latent(source.samples, noise_mask=mask)
    latent = sample(tiny.model, masked, positive, negative, plan(2, 0.5))
    pipe = pipeline("StableDiffusionInpaintPipeline", tiny, **SD)
    want = run(pipe, **inpainting(tiny, source, mask), **given)
    assert torch.allclose(decode(tiny.vae, latent), want, atol=TOLERANCE)


def sdxl_prompts(sdxl: Checkpoint) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """Both sides for us, and the same as arguments of a pipeline, pooled encodings too."""
    positive, negative, given = prompts(sdxl)
    return (
        positive,
        negative,
        given
        | {
            "pooled_prompt_embeds": pooled(positive),
            "negative_pooled_prompt_embeds": pooled(negative),
        },
    )


def sdxl_pipeline(name: str, sdxl: Checkpoint) -> Any:
    second = sdxl.clip.weights.encoders[1].module
    return pipeline(name, sdxl, tokenizer_2=None, text_encoder_2=second)


def test_sdxl_txt2img_is_the_pipelines(sdxl: Checkpoint) -> None:
    positive, negative, given = sdxl_prompts(sdxl)
    latent = sample(sdxl.model, make_empty(SIDE, SIDE), positive, negative, plan())
    pipe = sdxl_pipeline("StableDiffusionXLPipeline", sdxl)
    want = run(pipe, latents=start(sdxl), height=SIDE, width=SIDE, **given)
    assert torch.allclose(decode(sdxl.vae, latent), want, atol=TOLERANCE)


def test_sdxl_img2img_is_the_pipelines(sdxl: Checkpoint) -> None:
    positive, negative, given = sdxl_prompts(sdxl)
    source = encode(sdxl.vae, photo())
    latent = sample(sdxl.model, source, positive, negative, plan(2, 0.5))
    pipe = sdxl_pipeline("StableDiffusionXLImg2ImgPipeline", sdxl)
    scaled = source.samples * sdxl.model.family.latent_scale
    generator = torch.Generator().manual_seed(SEED)
    want = run(pipe, image=scaled, strength=0.5, generator=generator, **given)
    assert torch.allclose(decode(sdxl.vae, latent), want, atol=TOLERANCE)


def test_sdxl_inpaint_is_the_pipelines(sdxl: Checkpoint) -> None:
    positive, negative, given = sdxl_prompts(sdxl)
    source, mask = encode(sdxl.vae, photo()), right_half()
    masked = Latent(source.samples, noise_mask=mask)
    latent = sample(sdxl.model, masked, positive, negative, plan(2, 0.5))
    pipe = sdxl_pipeline("StableDiffusionXLInpaintPipeline", sdxl)
    want = run(pipe, **inpainting(sdxl, source, mask), **given)
    assert torch.allclose(decode(sdxl.vae, latent), want, atol=TOLERANCE)


def test_sdxl_prompts_are_the_pipelines(sdxl: Checkpoint, sdxl_folder: Path) -> None:
    from transformers import CLIPTokenizer

    first, second = (part.module for part in sdxl.clip.weights.encoders)
    pipe = pipeline(
        "StableDiffusionXLPipeline",
        sdxl,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=CLIPTokenizer.from_pretrained(sdxl_folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(sdxl_folder / "tokenizer_2"),
    )
    with torch.inference_mode():
        want = pipe.encode_prompt("a red fox", do_classifier_free_guidance=False)
    (entry,) = encode_text(sdxl.clip, "a red fox")
    assert torch.allclose(entry.tokens, want[0], atol=1e-5)
    assert torch.allclose(pooled((entry,)), want[2], atol=1e-5)
