"""Images of a denoiser under way: a few prompts, drawn with diffusers' DDIM scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DDIMScheduler
from PIL import Image

from training.mosaic import arrange
from training.stages.autoencoder import LATENTS, SCALE
from training.stages.schedule import NOISE
from training.world.captions import describe
from training.world.render import render
from training.world.scenes import HELD_OUT_SEEDS, SIZE, sample_scene

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import AutoencoderKL
    from torch import Tensor, nn

# Held-out scenes that are drawn beside their true renders, then prompts.
SCENES = tuple(sample_scene(HELD_OUT_SEEDS.start + 9000 + index) for index in (7, 3, 5, 11))
PROMPTS = (
    *(describe(scene) for scene in SCENES),
    "a red house on the left, autumn, hills, day",
    "a blue boat, lake, sunset, mountains, summer",
    "a tree on the right, winter landscape, night",
    "a pink balloon in the center, spring, clouds, sun, trees, watercolor",
    "a purple house on the right and a tree on the left, summer, ink drawing",
    "a big yellow star in the center on a blue background",
    "a red circle on the left and a green square on the right on a white background",
    "a big black boat in the center on an orange background, watercolor",
)
STEPS, GUIDANCE = 20, 2.5


@torch.no_grad()
def draw_glimpse(
    modules: Mapping[str, nn.Module], vae: AutoencoderKL, tokens: Tensor, path: Path
) -> None:
    """Draw the prompts with fixed noise, and save them below the true renders of the scenes.

    Args:
        modules: `unet` and `text_encoder`.
        vae: the autoencoder that the latents belong to.
        tokens: (1 + N)×77 token numbers: the empty prompt, then N prompts.
        path: the image to write.
    """
    device = tokens.device
    states = modules["text_encoder"](tokens).last_hidden_state
    count = len(tokens) - 1
    context = torch.cat((states[:1].expand(count, -1, -1), states[1:]))
    scheduler = DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    noise = torch.Generator().manual_seed(0)
    latents = torch.randn(count, LATENTS, SIZE // 8, SIZE // 8, generator=noise).to(device)
    for step in scheduler.timesteps:
        without, given = modules["unet"](torch.cat((latents, latents)), step, context).sample.chunk(
            2
        )
        guided = without + GUIDANCE * (given - without)
        latents = scheduler.step(guided, step, latents).prev_sample
    pixels = vae.decode(latents / SCALE).sample.clamp(-1, 1)
    images = [
        Image.fromarray(p.permute(1, 2, 0).add(1).mul(127.5).round().byte().cpu().numpy())
        for p in pixels
    ]
    true = [render(scene) for scene in SCENES]
    rows = [images[first : first + len(true)] for first in range(0, count, len(true))]
    arrange([true, *rows]).save(path)
