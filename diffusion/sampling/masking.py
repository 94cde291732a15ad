"""Noise masks: a model call that changes only the masked part of a latent."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import interpolate

from ..networks.handles import Model
from ..samplers.step import PairDenoiser
from .differential import DifferentialMask, MaskAt


def limit_to_mask(
    denoise: PairDenoiser, mask_at: MaskAt, latent: Tensor, noisy_at: Callable[[Tensor], Tensor]
) -> PairDenoiser:
    """Return a model call that changes only what the mask of its sigma covers.

    Outside the mask x is replaced by the noisy latent before the call, and D by the latent after
    it; a grey mask mixes. The unguided prediction is not changed.

    Args:
        noisy_at: from sigma to the latent with noise at it.
    """

    def denoise_masked(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        mask = mask_at(sigma)
        x = x * mask + noisy_at(sigma) * (1 - mask)
        denoised, unguided = denoise(x, sigma)
        return denoised * mask + latent * (1 - mask), unguided

    return denoise_masked


def schedule_mask(model: Model, mask: Tensor, sigmas: Tensor) -> MaskAt:
    """Return a function from sigma to the mask, which a patch of the model may change."""
    for patch in model.patches:
        if isinstance(patch, DifferentialMask):
            return patch.schedule(mask, model.sampling, sigmas)
    return lambda _sigma: mask


def fit_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """Resize a mask B×H×W to latents, B×1×(1×)h×w: bilinear, repeated over the batch."""
    grid = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    grid = interpolate(grid, size=samples.shape[-2:], mode="bilinear")
    repeats = -(-len(samples) // len(grid))
    fitted = grid.repeat(repeats, 1, 1, 1)[: len(samples)].to(samples.device)
    return fitted if samples.ndim == fitted.ndim else fitted.unsqueeze(2)
