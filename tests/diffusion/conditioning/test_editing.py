"""Models that edit by an instruction: eight channels against diffusers, the inputs, the node."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import with_image
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.families.conditions import InpaintMask
from latentloom.diffusion.families.image_inputs import image_channels
from latentloom.diffusion.latents.latents import make_empty
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.vae import encode
from latentloom.diffusion.samplers.table import SamplerChoice
from latentloom.diffusion.sampling.guidance import Guidance
from latentloom.diffusion.sampling.noise import NoiseChoice, start_noise
from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from latentloom.diffusion.schedules.schedules import karras
from latentloom.engine.errors import InputError
from latentloom.nodes.inpaint import instruct_pix_to_pix_conditioning
from tests.tiny_model import write_tiny_model

SCALE = 0.18215
CFG, IMAGE_CFG, SEED = 5.0, 1.5, 3


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_tiny_model(tmp_path_factory.mktemp("m") / "eight", in_channels=8))


def photo(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(4))


def by_diffusers(editor: Checkpoint, positive: Tensor, negative: Tensor) -> Tensor:
    """The same image, prompts and noise through diffusers' pipeline; in scaled latent space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionInstructPix2PixPipeline

        scheduler = DPMSolverMultistepScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            use_karras_sigmas=True,
            timestep_spacing="linspace",
        )
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=editor.vae.weights.module,
            text_encoder=editor.clip.weights.module,
            tokenizer=None,
            unet=editor.model.weights.module,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        result: Tensor = pipeline(
            prompt_embeds=positive,
            negative_prompt_embeds=negative,
            image=photo().movedim(-1, 1),
            latents=start_noise((1, 4, 8, 8), SEED),
            num_inference_steps=4,
            guidance_scale=CFG,
            image_guidance_scale=IMAGE_CFG,
            output_type="latent",
        ).images
        return result


def test_both_guidances_are_those_of_diffusers_pipeline(editor: Checkpoint) -> None:
    prompt, nothing = (encode_text(editor.clip, text) for text in ("make it snow", ""))
    positive, second, latent = instruct_pix_to_pix_conditioning(
        prompt, nothing, editor.vae, photo()
    )
    assert torch.equal(latent.samples, torch.zeros(1, 4, 8, 8))
    guidance = Guidance(editor.model, positive, nothing, CFG, second, IMAGE_CFG, "regular")
    run = SamplingRun(karras(ModelSampling(), 4), SamplerChoice("dpmpp_2m"), NoiseChoice(SEED))
    ours = sample_custom(guidance, latent, run).output.samples * SCALE
    theirs = by_diffusers(editor, prompt[0].tokens, nothing[0].tokens)
    assert float((ours - theirs).abs().max() / theirs.std()) < 1e-4


def test_the_image_reaches_the_network(editor: Checkpoint) -> None:
    prompt = encode_text(editor.clip, "make it snow")
    outputs = []
    for image in (photo(), 1 - photo()):
        positive = with_image(prompt, encode(editor.vae, image).samples)
        run = SamplingRun(karras(ModelSampling(), 2), SamplerChoice("euler"), NoiseChoice(SEED))
        outputs.append(
            sample_custom(Guidance(editor.model, positive), make_empty(64, 64), run).output
        )
    assert not torch.allclose(outputs[0].samples, outputs[1].samples, atol=1e-3)


def test_the_image_is_resized_to_the_latent() -> None:
    x = torch.zeros(4, 4, 8, 8)
    image = torch.ones(2, 4, 8, 16) * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    channels = image_channels(x, image, None)
    assert channels.shape == x.shape
    assert channels[:, 0, 0, 0].tolist() == [1, 2, 1, 2]


def test_the_inpaint_latent_stands_in_for_a_missing_image_else_zeros() -> None:
    x = torch.zeros(1, 4, 2, 2)
    inpaint = InpaintMask(torch.ones(1, 16, 16), torch.full((1, 4, 2, 2), 3.0))
    assert image_channels(x, None, inpaint).eq(3).all()
    assert image_channels(x, None, None).eq(0).all()


def test_an_image_of_odd_sides_is_cropped_to_cells(editor: Checkpoint) -> None:
    positive, _, latent = instruct_pix_to_pix_conditioning(
        encode_text(editor.clip, "a"), (), editor.vae, photo(61, 79)
    )
    assert latent.shape == (1, 4, 7, 9)
    assert positive[0].image is not None
    assert positive[0].image.shape == (1, 4, 7, 9)


def test_an_image_smaller_than_a_cell_is_rejected(editor: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"pixels: expected at least"):
        instruct_pix_to_pix_conditioning((), (), editor.vae, photo(7, 64))


def test_a_model_of_eight_channels_is_said_to_edit(tmp_path: Path, editor: Checkpoint) -> None:
    assert editor.model.family.is_edit_model
    assert (editor.model.family.name, editor.model.family.latent_channels) == ("sd-32", 4)
