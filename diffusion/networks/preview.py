"""Previews of latents while sampling: a linear map of latent channels to colours, or TAESD.

The map of a latent space is not a table of constants. It is fitted by least squares to the latents
and images of its autoencoder in this process, which costs next to nothing; before the first
of them there is no preview. TAESD shows more, if it is installed, at about a hundredth of the
cost of the autoencoder.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..errors import ModelFileError
from ..families.family import Family
from ..families.space import LatentSpace
from ..latents.latents import merge_frames
from ..weights.file_cache import FileVersion, file_version
from ..weights.folders import find_tiny_vae
from ..weights.tiny_vae import TinyVaeFiles, read_tiny_vae

Method = Literal["auto", "latent2rgb", "taesd"]
MAX_PAIRS = 16
MAX_CELLS = 4096
RIDGE = 1e-3
MAX_SCALE, MAX_SIDE_PX = 8, 512


@dataclass(frozen=True)
class LatentPreview:
    """D of a step, in scaled latent space, with its family."""

    denoised: Tensor
    family: Family


@dataclass
class _NormalEquations:
    """The normal equations of one latent space's map: cells × cells and cells × colours."""

    cells: Tensor
    colours: Tensor
    pairs: int = 0


_fitted: dict[str, _NormalEquations] = {}
_lock = threading.Lock()


def learn_colours(family: Family, samples: Tensor, pixels: Tensor) -> None:
    """Add a pair of the family's autoencoder to the fit of its map.

    Args:
        samples: latents B×C×h×w in unscaled VAE space.
        pixels: their images B×H×W×C in 0..1.
    """
    key, samples = _key(family.space), merge_frames(samples)
    equations = _fitted.get(key)
    if samples.ndim != 4 or (equations is not None and equations.pairs >= MAX_PAIRS):
        return
    small = adaptive_avg_pool2d(
        pixels[:1, ..., :3].movedim(-1, 1), (samples.shape[-2], samples.shape[-1])
    )
    values = _with_one(samples[:1])
    colours = (small * 2 - 1)[0].flatten(1).T.double()
    step = max(1, len(values) // MAX_CELLS)
    values, colours = values[::step], colours[::step]
    if not (values.isfinite().all() and colours.isfinite().all()):
        return
    with _lock:
        count = values.shape[1]
        equations = _fitted.setdefault(
            key,
            _NormalEquations(torch.zeros(count, count).double(), torch.zeros(count, 3).double()),
        )
        equations.cells += values.T @ values / len(values)
        equations.colours += values.T @ colours / len(values)
        equations.pairs += 1


def _key(space: LatentSpace) -> str:
    """Return the name of a space, or its layout where the autoencoder's file does not say more."""
    return space.name or space.describe()


def _find_fit(space: LatentSpace) -> _NormalEquations | None:
    """Return the fit of a space, else that of an unnamed autoencoder with such latents."""
    return _fitted.get(space.name) or _fitted.get(space.describe())


def map_to_colours(preview: LatentPreview) -> Tensor | None:
    """Map the first latent of a batch to h×w×3 in 0..1; None before its family's first pair."""
    with _lock:
        equations = _find_fit(preview.family.space)
        if equations is None or equations.cells.shape[0] != preview.denoised.shape[1] + 1:
            return None
        ridge = RIDGE * equations.pairs * torch.eye(equations.cells.shape[0]).double()
        to_colours = torch.linalg.solve(equations.cells + ridge, equations.colours)
    height, width = preview.denoised.shape[-2:]
    latent = merge_frames(preview.family.to_vae(preview.denoised[:1].detach().cpu()))[:1]
    colours: Tensor = _with_one(latent) @ to_colours
    return _to_unit_range(colours.reshape(height, width, 3)).float()


def render_jpeg(preview: LatentPreview, method: Method = "auto") -> bytes | None:
    """Render the first latent of a batch as a JPEG; None if neither method can.

    Args:
        method: latent2rgb is the map; taesd is TAESD, or the map if it is not installed; auto
            takes TAESD only on an accelerator, since on a CPU it would slow sampling down.
    """
    is_accelerated = preview.denoised.device.type != "cpu"
    uses_taesd = method == "taesd" or (method == "auto" and is_accelerated)
    colours, max_scale = (decode_with_taesd(preview) if uses_taesd else None), 1
    if colours is None:
        colours, max_scale = map_to_colours(preview), MAX_SCALE
    if colours is None:
        return None
    image = Image.fromarray((colours * 255).round().to(torch.uint8).numpy())
    scale = max(1, min(max_scale, MAX_SIDE_PX // max(image.size)))
    image = image.resize((image.width * scale, image.height * scale))
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=85)
    return sink.getvalue()


def decode_with_taesd(preview: LatentPreview) -> Tensor | None:
    """Decode the first latent of a batch with TAESD to H×W×3 in 0..1; None if that fails."""
    files = find_tiny_vae(preview.family.space.tiny_vae)
    latent = preview.denoised[:1].detach()
    if files is None or latent.shape[1] != files.family.latent_channels:
        return None
    try:
        network = _load_taesd(files, file_version(files.decoder), latent.device)
    except (ModelFileError, OSError):
        return None
    with torch.inference_mode():
        decoded: Tensor = network.decode(latent.float(), return_dict=False)[0]  # type: ignore[operator]
    return _to_unit_range(decoded[0].movedim(0, -1).cpu())


@lru_cache(maxsize=2)
def _load_taesd(
    files: TinyVaeFiles, _version: FileVersion, device: torch.device
) -> torch.nn.Module:
    """Load TAESD onto a device; its 10 MB are too few for residency to count."""
    network: torch.nn.Module = read_tiny_vae(files).eval()
    return network.to(device)


def _to_unit_range(pixels: Tensor) -> Tensor:
    """Map -1..1 to 0..1."""
    return ((pixels + 1) / 2).nan_to_num(0).clamp(0, 1)


def _with_one(latent: Tensor) -> Tensor:
    """Return the cells of a latent 1×C×h×w as rows of C values and a 1."""
    cells = latent[0].flatten(1).T.double()
    return torch.cat([cells, torch.ones(len(cells), 1).double()], dim=1)
