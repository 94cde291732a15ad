"""Images of latents on their way: by a linear map from latent channels to colours, or by TAESD.

The map of a family is not a table of constants. It is learned by least squares from the latents
and images that the family's autoencoder turned into each other in this process, which costs
next to nothing; before the first of them there is no preview. TAESD shows more where its files
are installed, at about a hundredth of the cost of the autoencoder.
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
from ..families.family import ANY_FAMILY, Family, latent_space
from ..weights.folders import find_tiny_vae
from ..weights.tiny_vae import TinyVaeFiles, read_tiny_vae

Method = Literal["auto", "latent2rgb", "taesd"]
MAX_PAIRS = 16
MAX_CELLS = 4096
RIDGE = 1e-3
ENLARGED, MAX_SIDE = 8, 512


@dataclass(frozen=True)
class LatentPreview:
    """D of a step, in scaled latent space, and the family that it belongs to."""

    denoised: Tensor
    family: Family


@dataclass
class _Sums:
    """The normal equations of one family: cells × cells and cells × colours."""

    cells: Tensor
    colours: Tensor
    pairs: int = 0


_learned: dict[str, _Sums] = {}
_lock = threading.Lock()


def learn(family: Family, samples: Tensor, pixels: Tensor) -> None:
    """Take in a pair that an autoencoder made.

    Args:
        samples: latents B×C×h×w in unscaled VAE space.
        pixels: the images B×H×W×C in 0..1.
    """
    known = _learned.get(family.name)
    if family.name == ANY_FAMILY or (known is not None and known.pairs >= MAX_PAIRS):
        return
    small = adaptive_avg_pool2d(
        pixels[:1, ..., :3].movedim(-1, 1), (samples.shape[-2], samples.shape[-1])
    )
    values = _with_one(family.to_model(samples[:1]))
    colours = (small * 2 - 1)[0].flatten(1).T.double()
    step = max(1, len(values) // MAX_CELLS)
    values, colours = values[::step], colours[::step]
    if not (values.isfinite().all() and colours.isfinite().all()):
        return
    with _lock:
        count = values.shape[1]
        sums = _learned.setdefault(
            family.name,
            _Sums(torch.zeros(count, count).double(), torch.zeros(count, 3).double()),
        )
        sums.cells += values.T @ values / len(values)
        sums.colours += values.T @ colours / len(values)
        sums.pairs += 1


def map_to_colours(sketch: LatentPreview) -> Tensor | None:
    """The first latent of a batch as h×w×3 in 0..1; None if nothing is known of its family."""
    with _lock:
        sums = _learned.get(sketch.family.name)
        if sums is None or sums.cells.shape[0] != sketch.denoised.shape[1] + 1:
            return None
        ridge = RIDGE * sums.pairs * torch.eye(sums.cells.shape[0]).double()
        map = torch.linalg.solve(sums.cells + ridge, sums.colours)
    height, width = sketch.denoised.shape[-2:]
    found: Tensor = _with_one(sketch.denoised[:1].detach().cpu()) @ map
    colours: Tensor = ((found.reshape(height, width, 3) + 1) / 2).nan_to_num(0).clamp(0, 1).float()
    return colours


def render_jpeg(sketch: LatentPreview, method: Method = "auto") -> bytes | None:
    """The first latent of a batch as a JPEG; None if nothing can show it.

    Args:
        method: latent2rgb is the map; taesd is TAESD, or the map where it is not installed; auto
            takes TAESD on an accelerator only, since on a CPU it would slow the sampling.
    """
    drawn = method == "taesd" or (method == "auto" and sketch.denoised.device.type != "cpu")
    colours, most = (decode_with_taesd(sketch) if drawn else None), 1
    if colours is None:
        colours, most = map_to_colours(sketch), ENLARGED
    if colours is None:
        return None
    image = Image.fromarray((colours * 255).round().to(torch.uint8).numpy())
    scale = max(1, min(most, MAX_SIDE // max(image.size)))
    shown = image.resize((image.width * scale, image.height * scale))
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    sink = io.BytesIO()
    shown.save(sink, "JPEG", quality=85)
    return sink.getvalue()


def decode_with_taesd(sketch: LatentPreview) -> Tensor | None:
    """The first latent of a batch as TAESD draws it, H×W×3 in 0..1; None where it cannot."""
    halves = find_tiny_vae(latent_space(sketch.family.name))
    latent = sketch.denoised[:1].detach()
    if halves is None or latent.shape[1] != halves.family.latent_channels:
        return None
    try:
        network = _network(halves, halves.decoder.stat().st_mtime_ns, latent.device)
    except (ModelFileError, OSError):
        return None
    with torch.inference_mode():
        drawn: Tensor = network.decode(latent.float(), return_dict=False)[0]  # type: ignore[operator]
    return ((drawn[0].movedim(0, -1).cpu() + 1) / 2).nan_to_num(0).clamp(0, 1)


@lru_cache(maxsize=2)
def _network(halves: TinyVaeFiles, _changed: int, device: torch.device) -> torch.nn.Module:
    """TAESD on a device; 10 MB, which residency need not know of."""
    network: torch.nn.Module = read_tiny_vae(halves).eval()
    return network.to(device)


def _with_one(latent: Tensor) -> Tensor:
    """The cells of a latent 1×C×h×w as rows of C values and a 1."""
    cells = latent[0].flatten(1).T.double()
    return torch.cat([cells, torch.ones(len(cells), 1).double()], dim=1)
