"""The figures of a training run, by name; nothing else in training/ holds a step count."""

from __future__ import annotations

from dataclasses import dataclass

from training.stage import Plan


@dataclass(frozen=True)
class Preset:
    """Sizes of the pool and the networks, and the plan of each stage."""

    scenes: int
    textures: int
    captions: int
    autoencoder: Plan
    decoder: Plan
    denoiser: Plan
    autoencoder_channels: tuple[int, ...] = (16, 32, 48, 64)
    denoiser_channels: tuple[int, ...] = (32, 64, 128)
    text_width: int = 128
    text_layers: int = 2
    norm_groups: int = 8
    batch: int = 32
    seed: int = 1
    decoder_beside: bool = True


FULL = Preset(
    scenes=12_000,
    textures=1_200,
    captions=4,
    autoencoder=Plan(steps=3_600, rate=1e-3, warmup=60, average=0.998, weight_decay=1e-4),
    decoder=Plan(steps=5_400, rate=1e-3, flat=0.2, average=0.998, weight_decay=1e-4),
    denoiser=Plan(steps=7_500, rate=1.5e-3, warmup=60, flat=0.45, floor=0.03),
)
TINY = Preset(
    scenes=24,
    textures=4,
    captions=2,
    autoencoder=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    decoder=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    denoiser=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    autoencoder_channels=(8, 8, 8, 8),
    denoiser_channels=(8, 8, 16),
    text_width=16,
    text_layers=1,
    norm_groups=4,
    batch=4,
    decoder_beside=False,
)
PRESETS = {"full": FULL, "tiny": TINY}
