"""Places seen twice: before and after a change that a prompt asks for.

What image to image is for, as lessons: the noisy image still shows the old season, hour, style
or colour, and the caption asks for the new one. A denoiser that only ever saw images which
agree with their captions believes the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.stages.autoencoder import encode_images
from training.stages.stage import save_atomically
from training.stages.tokenizer import asked_table
from training.world.tables import views_table

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL

    from training.presets import Preset
    from training.world.crew import Crew

# Up to the first timestep the noisy image says where to go, from the second on the caption.
IMAGE_LEADS, CAPTION_LEADS = 150, 350


@dataclass(frozen=True)
class Redrawn:
    """N pairs of latents with unit variance, and captions of the second ones as N×77 tokens."""

    before: Tensor
    after: Tensor
    tokens: Tensor

    def to(self, device: str) -> Redrawn:
        """All of it on a device."""
        return Redrawn(*(part.to(device) for part in (self.before, self.after, self.tokens)))

    def draw(self, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Latents before and after, and tokens, of `count` pairs."""
        device = self.tokens.device
        picks = torch.randint(len(self.tokens), (count,), generator=generator, device=device)
        return self.before[picks].float(), self.after[picks].float(), self.tokens[picks].long()


def blend(
    before: Tensor, after: Tensor, timesteps: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """What a sampler may hold on its way from one image to the other, and where it is to go.

    At high noise all the way to the second; at low noise, where only touches are left to do, it
    stays what it is, whatever the caption says.
    """
    shares = torch.rand(len(before), generator=generator, device=before.device)
    seen = torch.lerp(before, after, _wide(shares))
    led = ((timesteps - IMAGE_LEADS) / (CAPTION_LEADS - IMAGE_LEADS)).clamp(0, 1)
    return seen, torch.lerp(seen, after, _wide(led))


def _wide(shares: Tensor) -> Tensor:
    return shares[:, None, None, None]


@torch.no_grad()
def load_redrawn(
    preset: Preset,
    folder: Path,
    latents: Tensor,
    vae: AutoencoderKL,
    crew: Crew,
    until: float | None = None,
) -> Redrawn:
    """Draw and encode the second views once, and keep them in the run folder.

    Args:
        preset: how many pairs there are.
        folder: the run folder; its tokenizer is for the captions.
        latents: those of the pool's scenes, from which the first views come.
        vae: the autoencoder that they were made with.
        crew: who draws.
        until: when to do with those that are drawn.
    """
    path = folder / "redrawn.pt"
    if not path.exists():
        views = crew.load(views_table(folder, preset.pairs), until=until)
        asked = crew.load(asked_table(folder, preset.pairs))
        tokens = torch.from_numpy(np.array(asked[: len(views)]))
        save_atomically({"after": encode_images(vae, views), "tokens": tokens}, path)
    saved = torch.load(path, weights_only=True)
    count = min(len(latents), len(saved["after"]))
    return Redrawn(latents[:count], saved["after"][:count], saved["tokens"][:count])
