"""How a model's noise levels are laid out, and what its raw output means.

Notation: sigma is the noise level in variance-exploding form, x a latent in that form, D the
denoised prediction; the network itself sees x / sqrt(sigma² + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .families import Prediction

# The last alpha_bar of a zero-terminal-SNR table; exactly zero would give an infinite sigma.
LAST_ALPHA_BAR = 4.8973451890853435e-08
MAX_PERCENT_SIGMA = 999999999.9


@dataclass(frozen=True)
class ModelSampling:
    """Noise schedule and prediction type of a model with 1000 training timesteps.

    Args:
        prediction: what the network gives: the noise, the velocity, or the picture itself.
        zsnr: the table is rescaled so that its last step has no signal (arXiv 2305.08891).
        beta_start, beta_end: ends of the scaled-linear beta schedule.

    Source: DDPM (arXiv 2006.11239), EDM's preconditioning (arXiv 2206.00364), v-prediction
    (arXiv 2202.00512).
    """

    prediction: Prediction = "eps"
    zsnr: bool = False
    beta_start: float = 0.00085
    beta_end: float = 0.012
    timesteps: int = 1000

    @cached_property
    def _sigmas64(self) -> Tensor:
        roots = (self.beta_start**0.5, self.beta_end**0.5)
        betas = torch.linspace(*roots, self.timesteps, dtype=torch.float64) ** 2
        alpha_bars = torch.cumprod(1 - betas, dim=0)
        if self.zsnr:
            alpha_bars = _to_zero_terminal_snr(alpha_bars)
        return ((1 - alpha_bars) / alpha_bars) ** 0.5

    @cached_property
    def sigmas(self) -> Tensor:
        """The noise level of each timestep, ascending, float32."""
        return self._sigmas64.float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """Natural logarithm of the levels, taken in double precision."""
        return self._sigmas64.log().float()

    @property
    def sigma_min(self) -> float:
        """The lowest level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The highest level of the table."""
        return float(self.sigmas[-1])

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level of a timestep that may lie between two: linear in log sigma."""
        t = timestep.float().clamp(0, self.timesteps - 1)
        low, high = t.floor().long(), t.ceil().long()
        share = t.frac()
        logs = self.log_sigmas.to(t.device)
        return ((1 - share) * logs[low] + share * logs[high]).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """The index of the nearest level in log sigma: what the network is told, an integer."""
        distances = sigma.float().log() - self.log_sigmas.to(sigma.device)[:, None]
        return distances.abs().argmin(dim=0).view(sigma.shape)

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the way from full noise (0) to none (1)."""
        if percent <= 0:
            return MAX_PERCENT_SIGMA
        if percent >= 1:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.timesteps - 1))))

    def input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network sees of x; `sigma` broadcasts against it."""
        return x / (sigma**2 + 1) ** 0.5

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """D from the network's raw output."""
        if self.prediction == "eps":
            return x - output * sigma
        if self.prediction == "v":
            return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5
        return output

    def noised(self, latent: Tensor, noise: Tensor, sigma: Tensor, full: bool) -> Tensor:
        """A latent at noise level sigma; `full` where sampling starts from pure noise."""
        return latent + noise * (1 + sigma**2) ** 0.5 if full else latent + noise * sigma

    def is_full(self, sigma: Tensor) -> bool:
        """Whether a first sigma is the table's end, where the start is pure noise."""
        top = self.sigma_max
        return math.isclose(top, float(sigma), rel_tol=1e-5) or float(sigma) > top


def _to_zero_terminal_snr(alpha_bars: Tensor) -> Tensor:
    roots = alpha_bars.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * (first / (first - last))
    alpha_bars = roots**2
    alpha_bars[-1] = LAST_ALPHA_BAR
    return alpha_bars
