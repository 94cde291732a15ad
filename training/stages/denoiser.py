"""The denoiser and the text encoder, trained together on the frozen encoder's latents.

Epsilon prediction on Stable Diffusion 1.5's noise schedule, so that every sampler made for it
applies.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.stages.autoencoder import LATENTS, encode_images
from training.stages.glimpse import PROMPTS, draw_glimpse
from training.stages.redrawn import blend
from training.stages.schedule import add_noise, draw_timesteps, noise_between, weighted_error
from training.stages.stage import Stage, save_atomically, train
from training.stages.tokenizer import LENGTH, captions_table, encode_tokens
from training.world.captions import describe
from training.world.render import render, to_array
from training.world.scenes import HELD_OUT_SEEDS, SIZE, TRAINING_SEEDS, is_sheet, sample_scene
from training.world.tables import scenes_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import AutoencoderKL
    from torch import nn

    from training.presets import Preset
    from training.stages.redrawn import Redrawn
    from training.world.crew import Crew

EMPTY_SHARE = 0.1
# How many of the images of a step are seen before a change that their caption asks for.
REDRAWN_SHARE = 0.25
# No caption is longer; most steps train on so many tokens, one in seven on all 77.
SHORT = 48
# Timesteps at which the error on held-out scenes is reported.
CHECKED = (50, 150, 300, 600, 900)


@dataclass(frozen=True)
class Lessons:
    """What the denoiser learns from.

    N latents of unit variance, captions of each as tokens, the empty caption, and how often
    each image comes up, relative to the others.
    """

    latents: Tensor
    tokens: Tensor
    empty: Tensor
    weights: Tensor

    def to(self, device: str) -> Lessons:
        """All of it on a device."""
        parts = (self.latents, self.tokens, self.empty, self.weights)
        return Lessons(*(part.to(device) for part in parts))

    def pick(self, count: int, generator: torch.Generator | None) -> Tensor:
        """The numbers of `count` images."""
        if self.weights.device.type == "cpu":
            return torch.multinomial(self.weights, count, replacement=True, generator=generator)
        ends = self.weights.double().cumsum(0)
        shares = torch.rand(count, generator=generator, device=ends.device, dtype=ends.dtype)
        return torch.searchsorted(ends, shares * ends[-1]).clamp(max=len(ends) - 1)

    def draw(
        self,
        step: int,
        picks: Tensor,
        generator: torch.Generator | None,
        empty_share: float = EMPTY_SHARE,
    ) -> tuple[Tensor, Tensor]:
        """Latents and tokens of images; a share of the captions is empty, for guidance."""
        device, count = picks.device, len(picks)
        variants = torch.randint(self.tokens.shape[1], (count,), generator=generator, device=device)
        dropped = torch.rand(count, 1, generator=generator, device=device) < empty_share
        tokens = torch.where(dropped, self.empty, self.tokens[picks, variants].long())
        return self.latents[picks].float(), tokens if step % 7 == 0 else tokens[:, :SHORT]


def alike(step: int, _done: float) -> int:
    """A step that has as many tokens."""
    return min(step % 7, 1)


def build_denoiser(preset: Preset) -> UNet2DConditionModel:
    """An untrained denoiser; attention only at the two small levels."""
    levels = len(preset.denoiser_channels) - 1
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=LATENTS,
        out_channels=LATENTS,
        layers_per_block=1,
        block_out_channels=preset.denoiser_channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * levels),
        up_block_types=(*("CrossAttnUpBlock2D",) * levels, "UpBlock2D"),
        cross_attention_dim=preset.text_width,
        attention_head_dim=4,
        norm_num_groups=preset.norm_groups,
    )


def build_text_encoder(preset: Preset, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text encoder for a tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.text_width,
        intermediate_size=4 * preset.text_width,
        projection_dim=preset.text_width,
        num_hidden_layers=preset.text_layers,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


@torch.no_grad()
def load_lessons(
    preset: Preset,
    folder: Path,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    crew: Crew,
    until: float | None = None,
) -> Lessons:
    """Encode the pool's scenes and their captions once, and keep them in the run folder.

    Args:
        preset: how many scenes there are, and how many captions of each.
        folder: the run folder.
        vae: the autoencoder with its latents folded.
        tokenizer: that of the run folder.
        crew: who draws.
        until: when to do with the scenes that are drawn.
    """
    path = folder / "lessons.pt"
    if not path.exists():
        drawn = crew.load(scenes_table(folder, preset.scenes), until=until)
        tokens = crew.load(captions_table(folder, preset.scenes, preset.captions))
        latents = encode_images(vae, drawn)
        save_atomically(
            {"latents": latents, "tokens": torch.from_numpy(np.array(tokens[: len(latents)]))}, path
        )
    saved = torch.load(path, weights_only=True)
    count = len(saved["latents"])
    sheets = torch.tensor([is_sheet(TRAINING_SEEDS.start + index) for index in range(count)])
    share = preset.sheet_share / sheets.float().mean()
    rest = (1 - preset.sheet_share) / (~sheets).float().mean()
    weights = torch.where(sheets, share, rest)
    empty = encode_tokens(tokenizer, [""]).long()
    return Lessons(saved["latents"], saved["tokens"], empty, weights)


@torch.no_grad()
def load_check(folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> Lessons:
    """Held-out scenes with one full caption each, to follow the denoiser by."""
    path = folder / "check.pt"
    if not path.exists():
        scenes = [sample_scene(HELD_OUT_SEEDS.start + 5000 + index) for index in range(64)]
        tokens = encode_tokens(tokenizer, [describe(scene) for scene in scenes])
        latents = encode_images(vae, np.stack([to_array(render(scene)) for scene in scenes]))
        save_atomically({"latents": latents, "tokens": tokens[:, None]}, path)
    saved = torch.load(path, weights_only=True)
    empty = encode_tokens(tokenizer, [""]).long()
    return Lessons(saved["latents"], saved["tokens"], empty, torch.ones(len(saved["latents"])))


@torch.no_grad()
def noise_error(networks: Mapping[str, nn.Module], check: Lessons, when: int) -> float:
    """The mean squared error of the predicted noise at a timestep; noise of variance 1."""
    device = next(networks["unet"].parameters()).device
    latents, timesteps = check.latents.float(), torch.full((len(check.latents),), when)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(when))
    noisy = add_noise(latents, noise, timesteps).to(device)
    states = networks["text_encoder"](check.tokens[:, 0].long().to(device)).last_hidden_state
    got = networks["unet"](noisy, timesteps.to(device), states).sample
    return float((got - noise.to(device)).pow(2).mean())


def train_denoiser(
    preset: Preset,
    folder: Path,
    lessons: Lessons,
    redrawn: Redrawn,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    *,
    resume: bool,
) -> dict[str, nn.Module]:
    """Train denoiser and text encoder; return the averages, `unet` and `text_encoder`."""
    torch.manual_seed(preset.seed)
    device = torch.device(preset.device)
    unet = build_denoiser(preset).to(device, memory_format=torch.channels_last)
    if preset.device == "cpu":
        # Faster than fused attention for the few positions there are.
        unet.set_attn_processor(AttnProcessor())
    text_encoder = build_text_encoder(preset, tokenizer).to(device)
    lessons, redrawn = lessons.to(preset.device), redrawn.to(preset.device)
    changed = round(preset.batch * REDRAWN_SHARE)
    glimpses = encode_tokens(tokenizer, ["", *PROMPTS]).long().to(device)
    check = load_check(folder, vae, tokenizer)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        picks = lessons.pick(preset.batch - changed, generator)
        latents, tokens = lessons.draw(step, picks, generator)
        before, after, asked = redrawn.draw(changed, generator)
        when = torch.randint(1000, (changed,), generator=generator, device=device)
        blends, ends = blend(before, after, when, generator)
        timesteps = torch.cat((draw_timesteps(len(latents), generator, device), when))
        seen = torch.cat((latents, blends))
        noise = torch.randn(seen.shape, generator=generator, device=device)
        noisy = add_noise(seen, noise, timesteps)
        wanted = noise_between(noisy, torch.cat((latents, ends)), timesteps)
        tokens = torch.cat((tokens, asked[:, : tokens.shape[1]]))
        states = text_encoder(tokens).last_hidden_state
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        got = unet(noisy, timesteps, states).sample.float()
        return weighted_error(got, wanted, timesteps)

    def measure(averages: Mapping[str, nn.Module], done: int) -> str:
        path = folder / f"glimpse-{done:06}.png"
        draw_glimpse(averages, vae.to(device), glimpses, path)
        if preset.copies:
            shutil.copyfile(path, preset.copies / "glimpse.png")
        errors = (f"{when}: {noise_error(averages, check, when):.4f}" for when in CHECKED)
        return f"held-out error at {', '.join(errors)}; samples in {path.name}"

    modules = {"unet": unet, "text_encoder": text_encoder}
    plan, half = preset.denoiser, preset.half
    stage = Stage(
        "denoiser", modules, loss, plan, preset.seed + 2, measure, half, alike,
        copies=preset.copies,
    )  # fmt: skip
    return train(stage, folder, resume=resume)
