"""A ControlNet that keeps the edges of an image, trained on the finished denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor

from training.stages.denoiser import alike
from training.stages.schedule import add_noise, draw_timesteps, weighted_error
from training.stages.stage import Stage, train
from training.world.tables import edges_table, scenes_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from training.presets import Preset
    from training.stages.denoiser import Lessons
    from training.world.crew import Crew

# Often the edges alone must say what there is.
EMPTY_SHARE = 0.3
# The convolutions that start at zero let everything else through: they learn faster.
FROM_ZERO = {"controlnet_": 4.0, "cond_embedding.conv_out": 4.0}


def load_edges(preset: Preset, folder: Path, crew: Crew, count: int) -> NDArray[np.uint8]:
    """N×H×(W/8) bytes: the edges of the first scenes, eight pixels a byte."""
    images = scenes_table(folder, preset.scenes)
    crew.load(images, count)
    path = images.path if images.path.exists() else images.partial
    return crew.load(edges_table(folder, path, count))


def start_edges(preset: Preset, folder: Path, crew: Crew, count: int) -> None:
    """Have the crew find the edges of scenes that are drawn."""
    images = scenes_table(folder, preset.scenes)
    path = images.path if images.path.exists() else images.partial
    crew.start(edges_table(folder, path, count))


def build_controlnet(preset: Preset, unet: nn.Module) -> ControlNetModel:
    """A ControlNet that starts from a denoiser and adds nothing yet."""
    return ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=preset.hint_channels
    ).requires_grad_(True)


def train_controlnet(
    preset: Preset,
    folder: Path,
    lessons: Lessons,
    networks: Mapping[str, nn.Module],
    crew: Crew,
    *,
    resume: bool,
) -> nn.Module:
    """Train a ControlNet beside the frozen `unet` and `text_encoder`; return its average."""
    torch.manual_seed(preset.seed)
    device = torch.device(preset.device)
    unet = networks["unet"].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    unet.requires_grad_(False)
    text_encoder = networks["text_encoder"].to(device).requires_grad_(False)
    net = build_controlnet(preset, unet)
    edges = torch.from_numpy(np.array(load_edges(preset, folder, crew, len(lessons.latents))))
    edges, lessons = edges.to(device), lessons.to(preset.device)
    bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        picks = lessons.pick(preset.control_batch, generator)
        latents, tokens = lessons.draw(step, picks, generator, EMPTY_SHARE)
        when = draw_timesteps(len(picks), generator, device)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        noisy = add_noise(latents, noise, when).contiguous(memory_format=torch.channels_last)
        hint = (edges[picks][..., None] >> bits & 1).flatten(2).float()
        hint = hint[:, None].expand(-1, 3, -1, -1)
        with torch.no_grad():
            states = text_encoder(tokens).last_hidden_state
        down, middle = net(noisy, when, states, controlnet_cond=hint, return_dict=False)
        got = unet(
            noisy,
            when,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample.float()
        return weighted_error(got, noise, when)

    modules = {"controlnet": net.to(device, memory_format=torch.channels_last)}
    stage = Stage(
        "controlnet",
        modules,
        loss,
        preset.controlnet,
        preset.seed + 3,
        half=preset.half,
        alike=alike,
        faster=dict(FROM_ZERO),
    )
    return train(stage, folder, resume=resume)["controlnet"]
