"""A ControlNet that keeps the edges of an image, trained on the finished denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor

from latentloom.diffusion.images.canny import canny
from training.stages.schedule import draw_timesteps, noise_schedule, weighted_error
from training.stages.stage import Stage, train
from training.world.edges import HIGH, LOW, to_tensor
from training.world.render import render
from training.world.scenes import TRAINING_SEEDS, sample_scene

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from training.presets import Preset
    from training.stages.denoiser import Lessons

# Often the edges alone must say what there is.
EMPTY_SHARE = 0.3
# The convolutions that start at zero let everything else through: they learn faster.
FROM_ZERO = {"controlnet_": 4.0, "cond_embedding.conv_out": 4.0}
# One image in four has the few edges that the usual thresholds of Canny's node find.
USUAL_LOW, USUAL_HIGH = 0.4, 0.8


def load_edges(preset: Preset, folder: Path) -> NDArray[np.uint8]:
    """N×H×(W/8) bytes: the edges of the scenes, eight pixels a byte."""
    path = folder / f"edges-{preset.scenes}.npy"
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.stack([_edges(index) for index in range(preset.scenes)]))
        partial.replace(path)
    edges: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return edges


def _edges(index: int) -> NDArray[np.uint8]:
    pixels = to_tensor(render(sample_scene(TRAINING_SEEDS.start + index)))
    limits = (LOW, HIGH) if index % 4 else (USUAL_LOW, USUAL_HIGH)
    return np.packbits(canny(pixels, *limits)[0, ..., 0].bool().numpy(), axis=1)


def train_controlnet(
    preset: Preset,
    folder: Path,
    lessons: Lessons,
    networks: Mapping[str, nn.Module],
    *,
    resume: bool,
) -> nn.Module:
    """Train a ControlNet beside the frozen `unet` and `text_encoder`; return its average."""
    torch.manual_seed(preset.seed)
    device = torch.device(preset.device)
    unet = networks["unet"].to(device).requires_grad_(False)
    text_encoder = networks["text_encoder"].to(device).requires_grad_(False)
    net = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=preset.hint_channels
    ).requires_grad_(True)
    edges = load_edges(preset, folder)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        picks = lessons.pick(preset.control_batch, generator)
        latents, tokens = lessons.draw(step, picks, generator, EMPTY_SHARE)
        timesteps = draw_timesteps(len(picks), generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = noise_schedule().add_noise(latents, noise, timesteps)
        noisy = noisy.to(device, memory_format=torch.channels_last)
        hint = torch.from_numpy(np.unpackbits(edges[picks.numpy()], axis=2)).float()
        hint = hint[:, None].expand(-1, 3, -1, -1).to(device)
        when = timesteps.to(device)
        with torch.no_grad():
            states = text_encoder(tokens.to(device)).last_hidden_state
        down, middle = net(noisy, when, states, controlnet_cond=hint, return_dict=False)
        got = unet(
            noisy,
            when,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample.float()
        return weighted_error(got, noise.to(device), timesteps)

    modules = {"controlnet": net.to(device, memory_format=torch.channels_last)}
    stage = Stage(
        "controlnet",
        modules,
        loss,
        preset.controlnet,
        preset.seed + 3,
        half=preset.half,
        faster=dict(FROM_ZERO),
    )
    return train(stage, folder, resume=resume)["controlnet"]
