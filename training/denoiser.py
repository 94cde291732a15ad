"""The denoiser and the text encoder, trained together on the frozen encoder's latents.

Epsilon prediction on Stable Diffusion 1.5's noise schedule, so that every sampler made for it
applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import LATENTS, SCALE
from training.captions import caption
from training.pool import load_pool, to_tensor
from training.scenes import TRAINING_SEEDS, sample_scene
from training.stage import Stage, save_atomically, train
from training.tokenizer import LENGTH

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL
    from torch import nn

    from training.presets import Preset

NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
EMPTY_SHARE = 0.1
# No caption is longer; most steps train on so many tokens, one in seven on all 77.
SHORT = 32


@dataclass(frozen=True)
class Lessons:
    """What the denoiser learns from: N latents of unit variance, captions of each as tokens."""

    latents: Tensor
    tokens: Tensor
    empty: Tensor

    def draw(self, step: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents and tokens of a batch; a share of the captions is empty, for guidance."""
        picks = torch.randint(len(self.latents), (count,), generator=generator)
        variants = torch.randint(self.tokens.shape[1], (count,), generator=generator)
        dropped = torch.rand(count, 1, generator=generator) < EMPTY_SHARE
        tokens = torch.where(dropped, self.empty, self.tokens[picks, variants].long())
        return self.latents[picks].float(), tokens if step % 7 == 0 else tokens[:, :SHORT]


def build_denoiser(preset: Preset) -> UNet2DConditionModel:
    """An untrained denoiser; attention only at the two small levels."""
    levels = len(preset.denoiser_channels) - 1
    return UNet2DConditionModel(
        sample_size=16,
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


def make_noise_schedule() -> DDPMScheduler:
    """Stable Diffusion 1.5's noise schedule."""
    return DDPMScheduler(**NOISE, clip_sample=False)


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """One timestep from each of `count` equal strata, leaning towards high noise."""
    share = (
        torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    ) / count
    return (1000 * share**0.7).long().clamp(0, 999)


def loss_weights() -> Tensor:
    """The weight of each timestep's squared error.

    min-SNR-5 with high noise lifted by SNR^-1/2, at most tenfold: without the lift the prompt
    gets almost no gradient where the picture's overall colour is decided, and the background
    comes from the seed. Source: min-SNR weighting, arXiv 2303.09556; the lift is this project's.
    """
    kept = make_noise_schedule().alphas_cumprod
    snr: Tensor = kept / (1 - kept)
    return snr.clamp(max=5) / snr * snr.rsqrt().clamp(1, 10)


def encode_tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """N×77 token numbers."""
    batch = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(batch.input_ids, dtype=torch.int16)


@torch.no_grad()
def load_lessons(
    preset: Preset, folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer
) -> Lessons:
    """Encode the pool's scenes and their captions once, and keep them in the run folder."""
    path = folder / "lessons.pt"
    if not path.exists():
        pictures = load_pool(preset, folder)[: preset.scenes]
        latents = [
            vae.encode(to_tensor(pictures[first : first + 50])).latent_dist.mean * SCALE
            for first in range(0, preset.scenes, 50)
        ]
        scenes = [sample_scene(TRAINING_SEEDS.start + index) for index in range(preset.scenes)]
        tokens = [
            encode_tokens(tokenizer, [caption(scene, k) for k in range(preset.captions)])
            for scene in scenes
        ]
        save_atomically({"latents": torch.cat(latents).half(), "tokens": torch.stack(tokens)}, path)
    kept = torch.load(path, weights_only=True)
    return Lessons(kept["latents"], kept["tokens"], encode_tokens(tokenizer, [""]).long())


def train_denoiser(
    preset: Preset, folder: Path, lessons: Lessons, tokenizer: CLIPTokenizer, *, resume: bool
) -> dict[str, nn.Module]:
    """Train denoiser and text encoder; return the averages, `unet` and `text_encoder`."""
    torch.manual_seed(preset.seed)
    unet, text_encoder = build_denoiser(preset), build_text_encoder(preset, tokenizer)
    noise_schedule, weights = make_noise_schedule(), loss_weights()

    def loss(step: int, generator: torch.Generator) -> Tensor:
        latents, tokens = lessons.draw(step, preset.batch, generator)
        timesteps = draw_timesteps(preset.batch, generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = noise_schedule.add_noise(latents, noise, timesteps)
        got = unet(noisy, timesteps, text_encoder(tokens).last_hidden_state).sample
        errors: Tensor = (got - noise).pow(2).mean((1, 2, 3))
        return (errors * weights[timesteps]).mean()

    modules = {"unet": unet, "text_encoder": text_encoder}
    return train(
        Stage("denoiser", modules, loss, preset.denoiser, preset.seed + 2), folder, resume=resume
    )
