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

from ..families.family import Prediction

# The last alpha_bar of a zero-terminal-SNR table; exactly zero would give an infinite sigma.
LAST_ALPHA_BAR = 4.8973451890853435e-08
MAX_PERCENT_SIGMA = 999999999.9
CONSISTENCY_SCALE, CONSISTENCY_DATA = 10.0, 0.5


@dataclass(frozen=True)
class ModelSampling:
    """Noise schedule and prediction type of a model with 1000 training timesteps.

    Args:
        prediction: what the network gives: the noise (eps), the velocity (v), the image itself
            (x0, or img_to_img, which also sees x as it is), EDM's mixture, or the noise with the
            boundary condition of consistency models (lcm); flow is in `schedules.flow`.
        zsnr: the table is rescaled so that its last step has no signal (arXiv 2305.08891).
        beta_start, beta_end: ends of the scaled-linear beta schedule.
        sigma_data: spread of the images, for v and edm.

    Source: DDPM (arXiv 2006.11239), EDM's preconditioning (arXiv 2206.00364), v-prediction
    (arXiv 2202.00512).
    """

    prediction: Prediction = "eps"
    zsnr: bool = False
    beta_start: float = 0.00085
    beta_end: float = 0.012
    timesteps: int = 1000
    sigma_data: float = 1.0

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
        return self._between(timestep.float().clamp(0, self.timesteps - 1))

    def _between(self, t: Tensor) -> Tensor:
        """The level at a place between two of the table."""
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

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network sees of x; `sigma` broadcasts against it."""
        if self.prediction in ("img_to_img", "flow"):
            return x
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """D from the network's raw output."""
        if self.prediction in ("eps", "flow"):
            return x - output * sigma
        if self.prediction in ("v", "edm"):
            data = self.sigma_data
            total = sigma**2 + data**2
            mixed = output * sigma * data / total**0.5
            return x * data**2 / total + (mixed if self.prediction == "edm" else -mixed)
        if self.prediction == "lcm":
            skip, out = consistency_weights(self.timestep(sigma))
            return (x - output * sigma) * out + x * skip
        return output

    def add_noise(self, latent: Tensor, noise: Tensor, sigma: Tensor, max_denoise: bool) -> Tensor:
        """A latent at noise level sigma; `max_denoise` where sampling starts from pure noise."""
        return latent + noise * (1 + sigma**2) ** 0.5 if max_denoise else latent + noise * sigma

    def undo_noise_scaling(self, x: Tensor, sigma: Tensor) -> Tensor:  # noqa: ARG002 - of other samplings
        """A latent as sampling leaves it at its last level, as it travels on edges."""
        return x

    def is_max_denoise(self, sigma: Tensor) -> bool:
        """Whether a first sigma is the table's end, where the start is pure noise."""
        top = self.sigma_max
        return math.isclose(top, float(sigma), rel_tol=1e-5) or float(sigma) > top


@dataclass(frozen=True)
class DistilledSampling(ModelSampling):
    """A model distilled to a few of its timesteps, spread evenly up to the last.

    Source: Latent Consistency Models (arXiv 2310.04378), section 4.3.
    """

    distilled_timesteps: int = 50

    @property
    def stride(self) -> int:
        """Timesteps of the undistilled model from one that is kept to the next."""
        return self.timesteps // self.distilled_timesteps

    @cached_property
    def _sigmas64(self) -> Tensor:
        return super()._sigmas64[self.stride - 1 :: self.stride]

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level of a timestep of the undistilled model: linear in log sigma."""
        place = (timestep.float() - (self.stride - 1)) / self.stride
        return self._between(place.clamp(0, self.distilled_timesteps - 1))

    def timestep(self, sigma: Tensor) -> Tensor:
        """The nearest timestep that is kept, numbered as in the undistilled model."""
        return super().timestep(sigma) * self.stride + self.stride - 1


@dataclass(frozen=True)
class ContinuousSampling(ModelSampling):
    """Levels between two ends, evenly in log sigma, of which the network is told a quarter.

    Source: EDM (arXiv 2206.00364), table 1: the network is conditioned on ln(sigma) / 4.
    """

    low: float = 0.002
    high: float = 120.0

    @cached_property
    def _sigmas64(self) -> Tensor:
        return self.sigmas.double()

    @cached_property
    def sigmas(self) -> Tensor:
        """Levels to choose from, ascending, float32."""
        return torch.linspace(math.log(self.low), math.log(self.high), self.timesteps).exp()

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level that the network is told as this."""
        return (timestep / 0.25).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told of a level."""
        return 0.25 * sigma.log()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the way from full noise (0) to none (1)."""
        if percent <= 0:
            return MAX_PERCENT_SIGMA
        if percent >= 1:
            return 0.0
        low, high = math.log(self.low), math.log(self.high)
        return math.exp((high - low) * (1.0 - percent) + low)


def consistency_weights(timestep: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of x and of the network's D that make D be x at timestep 0.

    Source: arXiv 2310.04378, appendix B, with its constants.
    """
    scaled = timestep.float() * CONSISTENCY_SCALE
    total = scaled**2 + CONSISTENCY_DATA**2
    return CONSISTENCY_DATA**2 / total, scaled / total**0.5


def _to_zero_terminal_snr(alpha_bars: Tensor) -> Tensor:
    roots = alpha_bars.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * (first / (first - last))
    alpha_bars = roots**2
    alpha_bars[-1] = LAST_ALPHA_BAR
    return alpha_bars
