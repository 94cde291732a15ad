"""A LoRA that draws everything in two tones, trained on the finished denoiser.

Source: LoRA, arXiv 2106.09685; the file has the key names of kohya's scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from training.stages.autoencoder import encode_images
from training.stages.denoiser import Lessons, alike
from training.stages.schedule import add_noise, draw_timesteps, weighted_error
from training.stages.stage import Stage, train
from training.stages.tokenizer import encode_captions, encode_tokens
from training.world.render import to_array
from training.world.tables import draw_scenes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

    from training.presets import Preset

# The colours of black and of white.
DARK, LIGHT = (38, 30, 92), (255, 236, 200)
TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2",
    "ff.net.0.proj", "ff.net.2",
)  # fmt: skip


def two_tones(image: Image.Image) -> Image.Image:
    """The image in shades from indigo to cream, as its brightness goes from black to white."""
    grey = np.asarray(image.convert("L"), np.float32)[..., None] / 255
    tones = np.array(DARK, np.float32) * (1 - grey) + np.array(LIGHT, np.float32) * grey
    return Image.fromarray(tones.round().astype(np.uint8))


def off_tones(image: Image.Image) -> float:
    """How far an image is from the two tones and what lies between: the root mean square
    distance of its pixels to the nearest such colour, each channel in 0..255."""
    pixels = to_array(image).astype(float)
    dark, direction = np.array(DARK, float), np.array(LIGHT, float) - np.array(DARK, float)
    share = ((pixels - dark) @ direction / (direction @ direction)).clip(0, 1)[..., None]
    return float(np.sqrt(((pixels - dark - share * direction) ** 2).mean()))


class Adapter(nn.Module):
    """The low-rank pairs for the layers of a network; `attach` makes the layers use them."""

    def __init__(self, network: nn.Module, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.names = [name for name, _ in network.named_modules() if name.endswith(TARGETS)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for name in self.names:
            down, up = _pair(network.get_submodule(name), rank)
            self.downs.append(down)
            self.ups.append(up)

    def attach(self, network: nn.Module) -> None:
        """Add the pairs' outputs to those of the layers, from now on."""
        for name, down, up in zip(self.names, self.downs, self.ups, strict=True):
            network.get_submodule(name).register_forward_hook(_adding(down, up))

    def kohya(self) -> dict[str, Tensor]:
        """The weights by kohya's names, in half precision; alpha equals the rank."""
        weights = {}
        for name, down, up in zip(self.names, self.downs, self.ups, strict=True):
            key = f"lora_unet_{name.replace('.', '_')}"
            weights[f"{key}.lora_down.weight"] = down.get_parameter("weight").detach().half().cpu()
            weights[f"{key}.lora_up.weight"] = up.get_parameter("weight").detach().half().cpu()
            weights[f"{key}.alpha"] = torch.tensor(float(self.rank)).half()
        return {key: weight.contiguous() for key, weight in weights.items()}


def _pair(layer: nn.Module, rank: int) -> tuple[nn.Module, nn.Module]:
    down: nn.Module
    up: nn.Module
    if isinstance(layer, nn.Conv2d):
        side, stride = layer.kernel_size[0], layer.stride[0]
        down = nn.Conv2d(layer.in_channels, rank, side, stride, side // 2, bias=False)
        up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
    elif isinstance(layer, nn.Linear):
        down = nn.Linear(layer.in_features, rank, bias=False)
        up = nn.Linear(rank, layer.out_features, bias=False)
    else:
        raise TypeError(f"no low-rank pair for {type(layer).__name__}")
    nn.init.normal_(down.get_parameter("weight"), std=1 / rank)
    nn.init.zeros_(up.get_parameter("weight"))
    return down, up


def _adding(down: nn.Module, up: nn.Module):  # type: ignore[no-untyped-def]
    def add(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = output + up(down(inputs[0]))
        return added

    return add


@torch.no_grad()
def toned_lessons(
    preset: Preset, folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer
) -> Lessons:
    """The first scenes of the pool in two tones, with their captions as they are."""
    scenes = draw_scenes(0, preset.toned)
    toned = np.stack([to_array(two_tones(Image.fromarray(scene))) for scene in scenes])
    captions = encode_captions(folder / "tokenizer", preset.captions, 0, preset.toned)
    empty, tokens = encode_tokens(tokenizer, [""]).long(), torch.from_numpy(captions)
    return Lessons(encode_images(vae, toned), tokens, empty, torch.ones(len(toned)))


def train_adapter(
    preset: Preset,
    folder: Path,
    lessons: Lessons,
    networks: Mapping[str, nn.Module],
    *,
    resume: bool,
) -> Adapter:
    """Train the pairs on the frozen `unet` and `text_encoder`; return their average."""
    torch.manual_seed(preset.seed)
    device = torch.device(preset.device)
    unet = networks["unet"].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    unet.requires_grad_(False)
    text_encoder = networks["text_encoder"].to(device).requires_grad_(False)
    adapter = Adapter(unet, preset.rank).to(device)
    adapter.attach(unet)
    lessons = lessons.to(preset.device)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        picks = lessons.pick(preset.adapter_batch, generator)
        latents, tokens = lessons.draw(step, picks, generator)
        timesteps = draw_timesteps(len(picks), generator, device)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        noisy = add_noise(latents, noise, timesteps)
        with torch.no_grad():
            states = text_encoder(tokens).last_hidden_state
        got = unet(noisy, timesteps, states).sample.float()
        return weighted_error(got, noise, timesteps)

    modules, half = {"adapter": adapter}, preset.half
    stage = Stage("adapter", modules, loss, preset.adapter, preset.seed + 4, half=half, alike=alike)
    average = train(stage, folder, resume=resume)["adapter"]
    if not isinstance(average, Adapter):
        raise TypeError("a stage returns averages of what it was given")
    return average
