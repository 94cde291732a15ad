"""Qwen-Image on small random weights against diffusers' network and pipeline."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.errors import SamplingError
from latentloom.diffusion.families.table import family_of_lora
from latentloom.diffusion.latents.latents import Latent, repeat, upscale_by
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.samplers.table import SamplerChoice
from latentloom.diffusion.sampling.guidance import Guidance
from latentloom.diffusion.sampling.noise import NoiseChoice, start_noise
from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom
from latentloom.diffusion.weights.detect import check_unet_file
from latentloom.diffusion.weights.listing import describe_model

SEED, TEXT = 5, 64
TOLERANCE = 1e-4  # of the spread, in float32
CONFIG: dict[str, Any] = {
    "num_layers": 2, "num_attention_heads": 2, "joint_attention_dim": TEXT,
}  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["2509", "2511"])
def network(request: pytest.FixtureRequest) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import QwenImageTransformer2DModel
    torch.manual_seed(SEED)
    module = QwenImageTransformer2DModel(**CONFIG, zero_cond_t=request.param).eval()
    with torch.no_grad():
        for parameter in module.requires_grad_(False).parameters():
            spread = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_((torch.randn_like(parameter) * spread).half().float())
    return module


@pytest.fixture(scope="module")
def model(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = tmp_path_factory.mktemp("qwen") / "model.safetensors"
    prefix = "model.diffusion_model."
    weights = {prefix + name: weight.half() for name, weight in network.state_dict().items()}
    if network.config.zero_cond_t:
        weights[f"{prefix}__index_timestep_zero__"] = torch.zeros(0)
    save_file(weights, path)
    check_unet_file(path)
    assert describe_model(path).family == "qwen-image"
    return load_unet(path)


def pack(x: Tensor) -> Tensor:
    batch, channels, _, height, width = x.shape
    patches = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 4 * channels)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    patches = tokens.reshape(len(tokens), height // 2, width // 2, -1, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, 1, height, width)


def reference(network: Any, x: Tensor, sigma: float, text: Tensor, *references: Tensor) -> Tensor:
    images = [x, *references]
    shapes = [(1, image.shape[-2] // 2, image.shape[-1] // 2) for image in images]
    tokens = torch.cat([pack(image) for image in images], dim=1)
    time = torch.tensor([sigma] * len(x))
    output = network(tokens, text, None, time, [shapes] * len(x), return_dict=False)[0]
    return unpack(output[:, : pack(x).shape[1]], *x.shape[-2:])


def predict(model: Model, x: Tensor, sigma: float, *prompts: PromptEntry) -> Tensor:
    network = model.family.architecture
    added = network.gather(model.family, x, prompts, [0] * len(prompts))
    context = torch.cat([prompt.tokens for prompt in prompts])
    rows = torch.cat([x] * len(prompts))
    with model.weights.use():
        return model.weights.predict(rows, torch.full((len(rows),), sigma), context, added)


def assert_close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= TOLERANCE * want.std()


def latent(height: int, width: int) -> Tensor:
    return torch.randn(1, 16, 1, height, width)


def test_the_network_gives_diffusers_output_with_references(model: Model, network: Any) -> None:
    x, references = latent(8, 12), (latent(8, 8), latent(4, 12))
    text = torch.randn(1, 9, TEXT)
    prompt = PromptEntry(text, references=references)
    scaled = [model.family.to_model(reference) for reference in references]
    assert_close(predict(model, x, 0.6, prompt), reference(network, x, 0.6, text, *scaled))


def test_two_prompts_are_evaluated_in_one_call(model: Model) -> None:
    x, references = latent(8, 8), (latent(8, 8),)
    prompts = [PromptEntry(torch.randn(1, 9, TEXT), references=references) for _ in range(2)]
    assert model.family.architecture.joins(*prompts)
    assert not model.family.architecture.joins(prompts[0], replace(prompts[1], references=()))
    both = predict(model, x, 0.6, *prompts)
    assert_close(both, torch.cat([predict(model, x, 0.6, prompt) for prompt in prompts]))


def test_a_method_of_another_family_is_an_error(model: Model) -> None:
    prompt = PromptEntry(
        torch.randn(1, 9, TEXT), references=(latent(8, 8),), reference_method="uxo/uno"
    )
    with pytest.raises(SamplingError, match="expected the method index"):
        predict(model, latent(8, 8), 0.6, prompt)


def test_sampling_gives_the_pipelines_latents(model: Model, network: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline

        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        pipe = QwenImagePipeline(scheduler, None, None, None, network)
        pipe.set_progress_bar_config(disable=True)
    texts = [torch.randn(1, 20, TEXT), torch.randn(1, 13, TEXT)]
    noise = start_noise((1, 16, 1, 8, 12), SEED)
    with torch.no_grad():
        packed = pipe(
            height=64, width=96, num_inference_steps=3, latents=pack(noise), true_cfg_scale=1.0,
            prompt_embeds=texts[0], prompt_embeds_mask=torch.ones(1, 20).long(),
            output_type="latent",
        ).images  # fmt: skip
    run = SamplingRun(scheduler.sigmas, SamplerChoice("euler"), NoiseChoice(SEED))
    guidance = Guidance(model, (PromptEntry(texts[0]),), (PromptEntry(texts[1]),), cfg=1.0)
    empty = Latent(torch.zeros(1, 4, 8, 12), cell_px=8)
    got = sample_custom(guidance, empty, run).output
    assert_close(got.samples, model.family.to_vae(unpack(packed, 8, 12)))


def test_masks_and_batches_have_an_axis_of_frames(model: Model) -> None:
    source = repeat(Latent(latent(8, 8)), 2)
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    run = SamplingRun(torch.tensor([0.8, 0.4, 0.0]), SamplerChoice("euler"), NoiseChoice(SEED))
    guidance = Guidance(model, (PromptEntry(torch.randn(1, 9, TEXT)),), cfg=1.0)
    got = sample_custom(guidance, replace(source, noise_mask=mask), run).output.samples
    assert_close(got[..., :3], source.samples[..., :3])
    assert not torch.allclose(got[..., 5:], source.samples[..., 5:])
    assert upscale_by(source, "bilinear", 1.5).shape == (2, 16, 1, 12, 12)


@pytest.mark.parametrize(
    ("layers", "family"),
    [
        (("transformer_blocks_0_img_mlp_net_2", "transformer_blocks_0_attn_to_q"), "qwen-image"),
        (("single_transformer_blocks_0_attn_to_q",), "flux"),
        (("transformer_blocks_0_attn_to_q",), None),
    ],
)
def test_loras_are_told_from_those_of_flux(layers: tuple[str, ...], family: str | None) -> None:
    assert family_of_lora(dict.fromkeys(layers, 3072)) == family
