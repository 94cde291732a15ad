"""Places seen twice: before and after a change that a prompt asks for.

What image to image is for, as lessons: the noisy image still shows the old season, hour, style
or colour, and the caption asks for the new one. A denoiser that only ever saw images which
agree with their captions believes the image.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from training.stages.autoencoder import encode_images
from training.stages.stage import save_atomically
from training.stages.tokenizer import encode_tokens
from training.world.captions import HOUR_WORDS, SEASON_WORDS, STYLE_WORDS, caption, describe
from training.world.colours import HOURS, SEASONS, contrasting
from training.world.render import render
from training.world.scenes import STYLES, TRAINING_SEEDS, Landscape, Scene, Sheet, sample_scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

    from training.presets import Preset

# Up to the first timestep the noisy image says where to go, from the second on the caption.
IMAGE_LEADS, CAPTION_LEADS = 150, 350
# Captions that the pool's own scenes do not use.
VARIANTS = range(8, 14)


class Pair(NamedTuple):
    """A scene of the pool as it is and as it becomes, and a caption that says so."""

    before: Scene
    after: Scene
    text: str


@dataclass(frozen=True)
class Redrawn:
    """N pairs of latents with unit variance, and captions of the second ones as N×77 tokens."""

    before: Tensor
    after: Tensor
    tokens: Tensor

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents before and after, and tokens, of `count` pairs."""
        picks = torch.randint(len(self.tokens), (count,), generator=generator)
        return self.before[picks].float(), self.after[picks].float(), self.tokens[picks].long()


def blend(
    before: Tensor, after: Tensor, timesteps: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What a sampler may hold on its way from one image to the other, and where it is to go.

    At high noise all the way to the second; at low noise, where only touches are left to do, it
    stays what it is, whatever the caption says.
    """
    seen = torch.lerp(before, after, _wide(torch.rand(len(before), generator=generator)))
    led = ((timesteps - IMAGE_LEADS) / (CAPTION_LEADS - IMAGE_LEADS)).clamp(0, 1)
    return seen, torch.lerp(seen, after, _wide(led))


def _wide(shares: Tensor) -> Tensor:
    return shares[:, None, None, None]


def draw_pairs(count: int) -> Iterator[Pair]:
    """The first scenes of the pool, each with one change."""
    for seed in range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + count):
        before, dice = sample_scene(seed), random.Random(-1 - seed)
        after, words = _changed(before, dice)
        yield Pair(before, after, _saying(after, words))


def _changed(scene: Scene, dice: random.Random) -> tuple[Scene, tuple[str, ...]]:
    """The scene with one change, and words for what is new."""
    return _other_colour(scene, dice) if isinstance(scene, Sheet) else _other_look(scene, dice)


def _other_look(scene: Landscape, dice: random.Random) -> tuple[Landscape, tuple[str, ...]]:
    """The landscape in another season, at another hour or in another style."""
    part = dice.choice(("season", "season", "hour", "hour", "style"))
    if part == "season":
        season = dice.choice([name for name in SEASONS if name != scene.season])
        return replace(scene, season=season), SEASON_WORDS[season]
    if part == "hour":
        hour = dice.choice([name for name in HOURS if name != scene.hour])
        return replace(scene, hour=hour), HOUR_WORDS[hour]
    style = dice.choice([name for name in STYLES if name != scene.style])
    return replace(scene, style=style), STYLE_WORDS[style]


def _other_colour(scene: Sheet, dice: random.Random) -> tuple[Sheet, tuple[str, ...]]:
    """The sheet with another ground, or another colour of its first thing."""
    first, *others = scene.things
    grounds = [c for c in contrasting(*(t.colour for t in scene.things)) if c != scene.ground]
    if grounds and dice.random() < 0.5:
        ground = dice.choice(grounds)
        return replace(scene, ground=ground), (f"{ground} background",)
    colour = dice.choice([c for c in contrasting(scene.ground) if c != first.colour])
    things = (replace(first, colour=colour), *others)
    return replace(scene, things=things), (f"{colour} {first.kind}",)


def _saying(scene: Scene, words: tuple[str, ...]) -> str:
    """A caption that holds one of the words: a change is never left to be guessed."""
    known = [word for word in words if word]
    named = re.compile(rf"\b({'|'.join(known)})\b")  # "pink" says nothing of ink
    captions = (caption(scene, variant) for variant in VARIANTS)
    return next(filter(named.search, captions), f"{describe(scene)}, {known[0]}")


@torch.no_grad()
def load_redrawn(
    preset: Preset, folder: Path, latents: Tensor, vae: AutoencoderKL, tokenizer: CLIPTokenizer
) -> Redrawn:
    """Draw and encode the second views once, and keep them in the run folder.

    Args:
        preset: how many pairs there are.
        folder: the run folder.
        latents: those of the pool's scenes, from which the first views come.
        vae: the autoencoder that they were made with.
        tokenizer: for the captions.
    """
    path = folder / "redrawn.pt"
    if not path.exists():
        pairs = list(draw_pairs(preset.pairs))
        tokens = encode_tokens(tokenizer, [pair.text for pair in pairs])
        save_atomically(
            {
                "after": encode_images(vae, (render(pair.after) for pair in pairs)),
                "tokens": tokens,
            },
            path,
        )
    saved = torch.load(path, weights_only=True)
    return Redrawn(latents[: preset.pairs], saved["after"], saved["tokens"])
