"""Pictures from an exported model, made with the project's own runtime: it is what ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from diffusion.latents import Latent
from diffusion.load import Checkpoint, load_checkpoint
from diffusion.sample import SamplePlan, sample
from diffusion.text import encode_text
from diffusion.vae import decode, encode
from training.render import to_array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STEPS, GUIDANCE, SAMPLER, SCHEDULER = 20, 4.0, "dpmpp_2m", "karras"


@dataclass(frozen=True)
class Studio:
    """A loaded model, at its native size and fixed settings."""

    checkpoint: Checkpoint

    def draw(self, prompt: str, seed: int) -> Image.Image:
        """Text to image."""
        family = self.checkpoint.model.family
        side = family.native_size // family.vae_factor
        empty = Latent(torch.zeros(1, family.latent_channels, side, side))
        return self._sample(empty, prompt, seed, 1.0)

    def change(self, source: Image.Image, prompt: str, denoise: float, seed: int) -> Image.Image:
        """Image to image."""
        pixels = torch.from_numpy(to_array(source).astype(np.float32) / 255)[None]
        return self._sample(encode(self.checkpoint.vae, pixels), prompt, seed, denoise)

    def _sample(self, latent: Latent, prompt: str, seed: int, denoise: float) -> Image.Image:
        model, clip, vae = self.checkpoint
        plan = SamplePlan(seed, STEPS, GUIDANCE, SAMPLER, SCHEDULER, denoise)
        result = sample(model, latent, encode_text(clip, prompt), encode_text(clip, ""), plan)
        pixels = decode(vae, result)[0].mul(255).round().byte().numpy()
        return Image.fromarray(pixels)


def open_studio(folder: Path) -> Studio:
    """Load the model in a folder."""
    return Studio(load_checkpoint(folder))


def draw_all(studio: Studio, prompts: Sequence[str], first_seed: int = 0) -> list[Image.Image]:
    """One picture for each prompt, each from its own seed."""
    return [studio.draw(prompt, first_seed + index) for index, prompt in enumerate(prompts)]
