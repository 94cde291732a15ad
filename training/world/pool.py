"""The images that the autoencoder sees, and crops of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.world.scenes import HELD_OUT_SEEDS
from training.world.tables import draw_scenes, draw_textures, scenes_table, textures_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.presets import Preset
    from training.world.crew import Crew, Table


@dataclass(frozen=True)
class Images:
    """Scenes and textures, each N×H×W×3 bytes; one numbering runs through both."""

    scenes: NDArray[np.uint8]
    textures: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.scenes) + len(self.textures)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        first = len(self.scenes)
        image: NDArray[np.uint8] = (
            self.scenes[index] if index < first else self.textures[index - first]
        )
        return image

    def sample(self, stride: int) -> Tensor:
        """Every so manieth image, N×3×H×W in -1..1."""
        return to_tensor(np.stack([self[index] for index in range(0, len(self), stride)]))

    def to(self, device: str) -> Tensor:
        """All images on a device, N×H×W×3 bytes."""
        parts = [torch.from_numpy(np.asarray(p)).to(device) for p in (self.scenes, self.textures)]
        return torch.cat(parts)


def load_pool(preset: Preset, folder: Path, crew: Crew) -> Images:
    """The first scenes of the pool and the textures."""
    scenes, textures = pool_tables(preset, folder)
    pool = crew.load(scenes, min(preset.pool, preset.scenes))
    return Images(pool, crew.load(textures))


def pool_tables(preset: Preset, folder: Path) -> tuple[Table, Table]:
    """The tables that the pool comes from."""
    return scenes_table(folder, preset.scenes), textures_table(folder, preset.textures)


def draw_pool(scenes: int, textures: int, first_seed: int) -> NDArray[np.uint8]:
    """Draw scenes and textures from consecutive seeds."""
    drawn = draw_scenes(0, scenes, first_seed), draw_textures(0, textures, first_seed)
    return np.concatenate(drawn)


def held_out(scenes: int, textures: int) -> Tensor:
    """N×3×H×W images in -1..1 that no stage trains on."""
    return to_tensor(draw_pool(scenes, textures, HELD_OUT_SEEDS.start))


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Bytes N×H×W×3 to a float tensor N×3×H×W in -1..1."""
    tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return tensor.float() / 127.5 - 1


def draw_batch(images: Images, count: int, side: int, generator: torch.Generator | None) -> Tensor:
    """Random crops of `side` pixels (on a grid of 8), half of them mirrored, in -1..1."""
    picks = torch.randint(len(images), (count,), generator=generator).tolist()
    cells = (images.scenes.shape[1] - side) // 8 + 1
    corners = (torch.randint(cells, (count, 2), generator=generator) * 8).tolist()
    crops = [
        images[pick][top : top + side, left : left + side]
        for pick, (top, left) in zip(picks, corners, strict=True)
    ]
    batch = to_tensor(np.stack(crops))
    mirrored = torch.rand((), generator=generator) < 0.5
    return batch.flip(3) if mirrored else batch


def gather_batch(
    images: Tensor, count: int, side: int, generator: torch.Generator | None
) -> Tensor:
    """The same of images that lie on a device, without a look at any number by the host."""
    device, whole = images.device, images.shape[1]
    picks = torch.randint(len(images), (count, 1, 1), generator=generator, device=device)
    cells = (whole - side) // 8 + 1
    top, left = (
        8 * torch.randint(cells, (count, 1), generator=generator, device=device) for _ in range(2)
    )
    along = torch.arange(side, device=device)
    mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
    rows, columns = top + along, left + torch.where(mirrored, side - 1 - along, along)
    crops = images[picks, rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2).float() / 127.5 - 1
