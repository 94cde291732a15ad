"""The figures of a training run, by name; nothing else in training/ holds a step count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training.stages.stage import Plan

if TYPE_CHECKING:
    from pathlib import Path


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
    craft: int = 40
    shapes: int = 135
    crowds: int = 100
    fillings: int = 40
    margins: int = 20


@dataclass(frozen=True)
class Preset:
    """Sizes of the pools and the networks, and the plan of each stage.

    `scenes`: how many the denoiser learns from; `pairs`: how many of them it sees before and
    after a change; `pool`: how many of them are drawn for the autoencoder, and `textures` beside
    them.

    `sheet_share`: how many of the images that the denoiser sees are sheets.

    `copies`: a folder for copies of the finished stages.

    `autoencoder_crops`: up to which share of a stage a step has how many crops of which side.
    """

    scenes: int
    pairs: int
    pool: int
    textures: int
    captions: int
    autoencoder: Plan
    decoder: Plan
    denoiser: Plan
    controlnet: Plan
    adapter: Plan
    autoencoder_channels: tuple[int, ...] = (32, 48, 64, 96)
    denoiser_channels: tuple[int, ...] = (96, 128, 144)
    text_width: int = 128
    text_layers: int = 2
    norm_groups: int = 8
    hint_channels: tuple[int, ...] = (8, 16, 32, 32)
    autoencoder_crops: tuple[tuple[float, int, int], ...] = (
        (0.7, 8, 96), (0.9, 3, 160), (1.0, 2, 256),
    )  # fmt: skip
    batch: int = 32
    control_batch: int = 24
    adapter_batch: int = 16
    rank: int = 8
    toned: int = 400
    sheet_share: float = 0.35
    device: str = "cpu"
    copies: Path | None = None
    half: bool = True
    seed: int = 1
    counts: Counts = Counts()


FULL = Preset(
    scenes=16_000,
    pairs=6_000,
    pool=6_000,
    textures=1_500,
    captions=5,
    autoencoder=Plan(
        steps=5_000, rate=1e-3, warmup=100, fall=3_000, average=0.998, weight_decay=1e-4, muon=1.0,
    ),
    decoder=Plan(
        steps=4_000, rate=7e-4, fall=3_500, average=0.998, weight_decay=1e-4, muon=1.0,
    ),
    denoiser=Plan(
        steps=40_000, rate=1e-3, warmup=200, fall=5_000, floor=0.01, average=0.9998, save_every=100,
        muon=3.0,
    ),
    controlnet=Plan(
        steps=6_000, rate=1e-3, warmup=100, fall=3_000, average=0.998, save_every=100, muon=3.0,
    ),
    adapter=Plan(steps=300, rate=2e-3, warmup=20, fall=270, average=0.97, show_every=20),
)  # fmt: skip
_FEW = Plan(steps=4, rate=1e-3, warmup=2, fall=2, save_every=2, show_every=2)
TINY = Preset(
    scenes=24,
    pairs=16,
    pool=8,
    textures=4,
    captions=2,
    autoencoder=_FEW,
    decoder=_FEW,
    denoiser=_FEW,
    controlnet=_FEW,
    adapter=_FEW,
    autoencoder_channels=(8, 8, 8, 8),
    denoiser_channels=(8, 8, 16),
    text_width=16,
    text_layers=1,
    norm_groups=4,
    hint_channels=(4, 4, 8, 8),
    autoencoder_crops=((0.5, 2, 64), (1.0, 1, 256)),
    batch=4,
    control_batch=4,
    adapter_batch=4,
    rank=2,
    toned=20,
    counts=Counts(36, 2, 2, 9, 2, 12, 1, 2, 2, 2, 2, 9, 2, 2, 2),
)
# For a GPU: the same networks on more images, in large batches. On an H200 a step of the denoiser
# took 40 ms, of the autoencoder 18 ms, of the ControlNet 33 ms.
LARGE = replace(
    FULL,
    scenes=48_000,
    pairs=16_000,
    pool=12_000,
    textures=3_000,
    autoencoder=replace(FULL.autoencoder, steps=7_000, fall=3_500),
    decoder=replace(FULL.decoder, steps=3_000, fall=2_400),
    denoiser=replace(
        FULL.denoiser, steps=12_000, rate=1.2e-3, warmup=300, fall=4_800, average=0.999,
        snapshots=45.0,
    ),
    controlnet=replace(FULL.controlnet, steps=2_500, rate=1.2e-3, fall=1_500, average=0.997),
    adapter=replace(FULL.adapter, steps=400, fall=350),
    autoencoder_crops=((0.7, 32, 96), (0.9, 12, 160), (1.0, 6, 256)),
    batch=128,
    control_batch=96,
    adapter_batch=64,
)  # fmt: skip
PRESETS = {"full": FULL, "large": LARGE, "tiny": TINY}
