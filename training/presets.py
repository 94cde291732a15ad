"""The figures of a training run, by name; nothing else in training/ holds a step count."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.stages.stage import Plan


@dataclass(frozen=True)
class Counts:
    """How many of each kind an evaluation looks at."""

    oracle: int = 450
    scenes: int = 128
    textures: int = 128
    sheets: int = 135
    pairs: int = 100
    views: int = 108
    sources: int = 20
    changes: int = 100
    traced: int = 50
    toned: int = 50


@dataclass(frozen=True)
class Preset:
    """Sizes of the pool and the networks, and the plan of each stage.

    `sheet_share`: how many of the pictures that the denoiser sees are sheets; their outlines are
    what it learns slowest.

    `autoencoder_batch`: how many crops of 64 px, or whole pictures, a step has.
    """

    scenes: int
    textures: int
    captions: int
    autoencoder: Plan
    decoder: Plan
    denoiser: Plan
    controlnet: Plan
    adapter: Plan
    autoencoder_channels: tuple[int, ...] = (16, 32, 48, 64)
    denoiser_channels: tuple[int, ...] = (32, 64, 128)
    text_width: int = 128
    text_layers: int = 2
    norm_groups: int = 8
    hint_channels: tuple[int, ...] = (8, 16, 32, 32)
    autoencoder_batch: tuple[int, int] = (8, 3)
    batch: int = 32
    control_batch: int = 24
    adapter_batch: int = 16
    rank: int = 8
    toned: int = 400
    sheet_share: float = 0.6
    device: str = "cpu"
    seed: int = 1
    counts: Counts = Counts()
    decoder_beside: bool = True


FULL = Preset(
    scenes=20_000,
    textures=4_000,
    captions=5,
    autoencoder=Plan(steps=3_600, rate=1e-3, warmup=60, average=0.998, weight_decay=1e-4),
    decoder=Plan(steps=8_000, rate=1e-3, flat=0.2, average=0.998, weight_decay=1e-4),
    denoiser=Plan(steps=24_000, rate=1.5e-3, warmup=60, flat=0.45, floor=0.03),
    controlnet=Plan(steps=9_000, rate=1.5e-3, warmup=60, average=0.995),
    adapter=Plan(steps=300, rate=2e-3, warmup=20, flat=0.1, average=0.97, show_every=20),
)
TINY = Preset(
    scenes=24,
    textures=4,
    captions=2,
    autoencoder=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    decoder=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    denoiser=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    controlnet=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    adapter=Plan(steps=4, rate=1e-3, warmup=2, save_every=2, show_every=2),
    autoencoder_channels=(8, 8, 8, 8),
    denoiser_channels=(8, 8, 16),
    text_width=16,
    text_layers=1,
    norm_groups=4,
    hint_channels=(4, 4, 8, 8),
    batch=4,
    control_batch=4,
    adapter_batch=4,
    rank=2,
    toned=20,
    counts=Counts(36, 2, 2, 9, 2, 12, 1, 2, 2, 2),
    decoder_beside=False,
)
# For a GPU: the same networks on many more pictures.
LARGE = replace(
    FULL,
    scenes=60_000,
    textures=12_000,
    autoencoder=replace(FULL.autoencoder, steps=8_000),
    decoder=replace(FULL.decoder, steps=12_000),
    denoiser=replace(FULL.denoiser, steps=20_000, rate=2e-3),
    controlnet=replace(FULL.controlnet, steps=5_000, rate=2e-3),
    autoencoder_batch=(32, 12),
    batch=256,
    control_batch=192,
    adapter_batch=64,
    decoder_beside=False,
)
PRESETS = {"full": FULL, "large": LARGE, "tiny": TINY}
