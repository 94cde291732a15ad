"""Images from exported models, made with the project's own runtime: it is what ships."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from latentloom.diffusion.conditioning.conditioning import Conditioning, with_control
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.images.canny import canny
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.control import Control
from latentloom.diffusion.networks.control_load import load_control
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.lora import with_lora
from latentloom.diffusion.networks.vae import decode, encode
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from training.export import CONTROLNET, LORA, MODEL
from training.world.edges import HIGH, LOW, to_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STEPS, GUIDANCE, SAMPLER, SCHEDULER = 20, 4.0, "dpmpp_2m", "karras"
# The schedule whose low levels start lowest: it keeps most of an image's composition.
GENTLE = "exponential"


@dataclass(frozen=True)
class Studio:
    """Loaded models, at their native size and fixed settings."""

    checkpoint: Checkpoint
    models: Path

    def draw(self, prompt: str, seed: int) -> Image.Image:
        """Text to image."""
        return self._sample(self._empty(), encode_text(self.checkpoint.clip, prompt), seed)

    def draw_all(self, prompts: Sequence[str], first_seed: int = 0) -> list[Image.Image]:
        """One image for each prompt, each from its own seed."""
        return [self.draw(prompt, first_seed + index) for index, prompt in enumerate(prompts)]

    def change(
        self,
        source: Image.Image,
        prompt: str,
        denoise: float,
        seed: int,
        scheduler: str = SCHEDULER,
    ) -> Image.Image:
        """Image to image."""
        latent = encode(self.checkpoint.vae, to_tensor(source))
        positive = encode_text(self.checkpoint.clip, prompt)
        return self._sample(latent, positive, seed, denoise, scheduler)

    def fill(self, source: Image.Image, mask: Image.Image, prompt: str, seed: int) -> Image.Image:
        """Inpainting: what is under the white of a mask is painted anew, the rest is kept."""
        latent = encode(self.checkpoint.vae, to_tensor(source))
        gap = torch.from_numpy(np.asarray(mask, np.float32) / 255)[None]
        masked = replace(latent, noise_mask=gap)
        painted = self._sample(masked, encode_text(self.checkpoint.clip, prompt), seed)
        return Image.composite(painted, source, mask)

    def trace(self, source: Image.Image, prompt: str, seed: int) -> Image.Image:
        """Text to image along the edges of an image, with the ControlNet."""
        hint = canny(to_tensor(source), LOW, HIGH)
        control = Control(load_control(self.models / CONTROLNET), hint)
        positive, negative = (
            with_control(encode_text(self.checkpoint.clip, text), control) for text in (prompt, "")
        )
        return self._sample(self._empty(), positive, seed, negative=negative)

    def with_adapter(self, strength: float) -> Studio:
        """A studio whose model has the LoRA."""
        model = with_lora(self.checkpoint.model, self.models / LORA, strength)
        return replace(self, checkpoint=self.checkpoint._replace(model=model))

    def _empty(self) -> Latent:
        family = self.checkpoint.model.family
        side = family.native_size // family.vae_factor
        return Latent(torch.zeros(1, family.latent_channels, side, side))

    def _sample(
        self,
        latent: Latent,
        positive: Conditioning,
        seed: int,
        denoise: float = 1.0,
        scheduler: str = SCHEDULER,
        negative: Conditioning | None = None,
    ) -> Image.Image:
        model, clip, vae = self.checkpoint
        plan = SamplePlan(seed, STEPS, GUIDANCE, SAMPLER, scheduler, denoise)
        result = sample(model, latent, positive, negative or encode_text(clip, ""), plan)
        pixels = decode(vae, result)[0].mul(255).round().byte().numpy()
        return Image.fromarray(np.ascontiguousarray(pixels))


def open_studio(models: Path) -> Studio:
    """Load the demo model of a models folder."""
    return Studio(load_checkpoint(models / MODEL), models)
