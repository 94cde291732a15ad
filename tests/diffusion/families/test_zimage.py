"""Z-Image on small random weights against diffusers' network and pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import load_unet
from latentloom.diffusion.networks.lora import with_lora
from latentloom.diffusion.samplers.table import SamplerChoice
from latentloom.diffusion.sampling.guidance import Guidance
from latentloom.diffusion.sampling.noise import NoiseChoice, start_noise
from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom
from latentloom.diffusion.weights.detect import check_unet_file
from latentloom.diffusion.weights.listing import describe_model

SEED, WIDTH, TEXT = 5, 256, 64
# Of the spread, in float32.
TOLERANCE = 1e-4
CONFIG: dict[str, Any] = {
    "dim": WIDTH, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
    "cap_feat_dim": TEXT, "axes_dims": [32, 48, 48], "axes_lens": [1024, 512, 512],
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import ZImageTransformer2DModel
    torch.manual_seed(SEED)
    module = ZImageTransformer2DModel(**CONFIG).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in module.parameters():
            # Exact in float16, in which the file has them.
            spread = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_((torch.randn_like(parameter) * spread).half().float())
    return module


def original_keys(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return weights by the original code's names, with queries, keys and values joined."""
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        for ours, theirs in (
            ("all_final_layer.2-1.", "final_layer."), ("all_x_embedder.2-1.", "x_embedder."),
            (".to_out.0.", ".out."), (".norm_k.", ".k_norm."), (".norm_q.", ".q_norm."),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        renamed[prefix + name] = weight
    for name in [name for name in renamed if name.endswith(".to_q.weight")]:
        parts = [renamed.pop(name.replace("to_q", f"to_{part}")) for part in "qkv"]
        renamed[name.replace("to_q", "qkv")] = torch.cat(parts)
    return renamed


@pytest.fixture(scope="module", params=["", "model.diffusion_model.", "diffusers"])
def model(request: pytest.FixtureRequest, network: Any, tmp_path_factory: Any) -> Model:
    path: Path = tmp_path_factory.mktemp("zimage") / "model.safetensors"
    weights = {name: weight.half() for name, weight in network.state_dict().items()}
    is_diffusers = request.param == "diffusers"
    save_file(weights if is_diffusers else original_keys(weights, request.param), path)
    check_unet_file(path)
    assert describe_model(path).family == "z-image"
    return load_unet(path)


def predict(model: Model, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
    with model.weights.use(model.patches):
        return model.weights.predict(x, time, text)


def reference(network: Any, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
    output = network([*x.unsqueeze(2)], 1 - time, [*text], return_dict=False)[0]
    return -torch.stack(output).squeeze(2)


def assert_close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= TOLERANCE * want.std()


def test_the_network_gives_diffusers_output(model: Model, network: Any) -> None:
    x, text = torch.randn(2, 16, 8, 12), torch.randn(2, 20, TEXT)
    time = torch.tensor([0.7, 0.7])
    assert_close(predict(model, x, time, text), reference(network, x, time, text))


def test_an_odd_latent_is_continued_by_wrapping_round(model: Model, network: Any) -> None:
    x, text, time = torch.randn(1, 16, 7, 9), torch.randn(1, 5, TEXT), torch.tensor([0.4])
    wrapped = torch.cat([x, x[:, :, :1]], dim=2)
    wrapped = torch.cat([wrapped, wrapped[..., :1]], dim=3)
    assert_close(
        predict(model, x, time, text), reference(network, wrapped, time, text)[:, :, :7, :9]
    )


def test_weights_stay_as_the_file_has_them(model: Model) -> None:
    layer = model.weights.module.get_submodule("layers.0.feed_forward.w1")
    assert layer.weight.dtype == torch.float16
    assert model.weights.dtype == torch.float32


def test_sampling_gives_the_pipelines_latents(model: Model, network: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        pipe = ZImagePipeline(scheduler, None, None, None, network)
        pipe.set_progress_bar_config(disable=True)
    texts = [torch.randn(20, TEXT), torch.randn(33, TEXT)]
    noise = start_noise((1, 16, 8, 12), SEED)
    with torch.no_grad():
        want = pipe(
            height=64, width=96, num_inference_steps=3, guidance_scale=2.0, latents=noise,
            prompt_embeds=texts[:1], negative_prompt_embeds=texts[1:], output_type="latent",
        ).images  # fmt: skip
    positive, negative = ((PromptEntry(text[None]),) for text in texts)
    run = SamplingRun(scheduler.sigmas, SamplerChoice("euler"), NoiseChoice(SEED))
    guidance = Guidance(model, positive, negative, cfg=3.0)
    got = sample_custom(guidance, Latent(torch.zeros(1, 4, 8, 12), cell_px=8), run).output
    assert_close(got.samples, model.family.to_vae(want))


@pytest.mark.parametrize("form", ["joined", "split"])
def test_a_lora_changes_joined_layers(
    model: Model, network: Any, tmp_path: Path, form: str
) -> None:
    down, up = torch.randn(4, WIDTH), torch.randn(3 * WIDTH, 4)
    stem = "layers.0.attention."
    if form == "joined":
        name = f"diffusion_model.{stem}qkv"
        tensors = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    else:
        tensors = {}
        for part, rows in zip("qkv", up.chunk(3), strict=True):
            name = f"transformer.{stem}to_{part}"
            tensors |= {
                f"{name}.lora_A.weight": down.clone(),
                f"{name}.lora_B.weight": rows.clone(),
            }
    save_file(tensors, tmp_path / "lora.safetensors")
    changed = with_lora(model, tmp_path / "lora.safetensors", 0.5)
    x, text, time = torch.randn(1, 16, 8, 8), torch.randn(1, 5, TEXT), torch.tensor([0.4])
    layers = [network.get_submodule(f"{stem}to_{part}") for part in "qkv"]
    originals = [layer.weight.clone() for layer in layers]
    with torch.no_grad():
        for layer, rows in zip(layers, up.chunk(3), strict=True):
            layer.weight += 0.5 * rows @ down
    want = reference(network, x, time, text)
    with torch.no_grad():
        for layer, original in zip(layers, originals, strict=True):
            layer.weight.copy_(original)
    assert_close(predict(changed, x, time, text), want)
    assert_close(predict(model, x, time, text), reference(network, x, time, text))
