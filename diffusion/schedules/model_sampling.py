"""A model's table of sigmas, and D from its raw output.

Notation: sigma is the standard deviation of the noise in variance-exploding form, x a latent in
that form, D the denoised prediction. The network itself sees x / sqrt(sigma² + 1).
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
        prediction: the network's output: the noise (eps), the velocity (v), the image itself
            (x0, or img_to_img with an unscaled input), EDM's mixture, or the noise with the
            boundary condition of consistency models (lcm). For flow see `schedules.flow`.
        zsnr: the table is rescaled so that its last step has no signal (arXiv 2305.08891).
        beta_start, beta_end: ends of the scaled-linear beta schedule.
        sigma_data: standard deviation of the images, for v and edm.

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
        """Return the sigma of each timestep, ascending, float32."""
        return self._sigmas64.float()

    @cached_property
    def log_sigmas(self) -> Tensor:
        """Return the natural logarithm of the sigmas, taken in float64."""
        return self._sigmas64.log().float()

    @property
    def sigma_min(self) -> float:
        """Return the lowest sigma of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Return the highest sigma of the table."""
        return float(self.sigmas[-1])

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the sigma of a timestep, interpolated linearly in log sigma."""
        return self._interpolate(timestep.float().clamp(0, self.timesteps - 1))

    def _interpolate(self, t: Tensor) -> Tensor:
        """Return the sigma at a fractional index of the table."""
        low, high = t.floor().long(), t.ceil().long()
        share = t.frac()
        logs = self.log_sigmas.to(t.device)
        return ((1 - share) * logs[low] + share * logs[high]).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the network's timestep: the integer index of the nearest sigma, in log sigma."""
        distances = sigma.float().log() - self.log_sigmas.to(sigma.device)[:, None]
        return distances.abs().argmin(dim=0).view(sigma.shape)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the sigma at a share of the schedule, from noise (0) to image (1)."""
        if percent <= 0:
            return MAX_PERCENT_SIGMA
        if percent >= 1:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.timesteps - 1))))

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the network's input for x; `sigma` broadcasts against it."""
        if self.prediction in ("img_to_img", "flow"):
            return x
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """Return D from the network's raw output."""
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
        """Return a latent with noise at sigma; `max_denoise` if sampling starts from pure noise."""
        return latent + noise * (1 + sigma**2) ** 0.5 if max_denoise else latent + noise * sigma

    def undo_noise_scaling(self, x: Tensor, sigma: Tensor) -> Tensor:  # noqa: ARG002 - of other samplings
        """Return x at the last sigma without the scale of the noise."""
        return x

    def is_max_denoise(self, sigma: Tensor) -> bool:
        """Return whether sampling starts from pure noise: at the end of the table or above."""
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
        """Return the distance of its timesteps in the undistilled model."""
        return self.timesteps // self.distilled_timesteps

    @cached_property
    def _sigmas64(self) -> Tensor:
        return super()._sigmas64[self.stride - 1 :: self.stride]

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the sigma of a timestep of the undistilled model, linear in log sigma."""
        index = (timestep.float() - (self.stride - 1)) / self.stride
        return self._interpolate(index.clamp(0, self.distilled_timesteps - 1))

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return its nearest timestep, numbered as in the undistilled model."""
        return super().timestep(sigma) * self.stride + self.stride - 1


@dataclass(frozen=True)
class ContinuousSampling(ModelSampling):
    """A model for any sigma between two ends; its timestep is log sigma / 4.

    Source: EDM (arXiv 2206.00364), table 1: the network is conditioned on ln(sigma) / 4.
    """

    low: float = 0.002
    high: float = 120.0

    @cached_property
    def _sigmas64(self) -> Tensor:
        return self.sigmas.double()

    @cached_property
    def sigmas(self) -> Tensor:
        """Return sigmas evenly in log sigma, ascending, float32."""
        return torch.linspace(math.log(self.low), math.log(self.high), self.timesteps).exp()

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the sigma of a timestep."""
        return (timestep / 0.25).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the timestep that the network receives for a sigma."""
        return 0.25 * sigma.log()

    def percent_to_sigma(self, percent: float) -> float:
        """Return the sigma at a share of the schedule, from noise (0) to image (1)."""
        if percent <= 0:
            return MAX_PERCENT_SIGMA
        if percent >= 1:
            return 0.0
        low, high = math.log(self.low), math.log(self.high)
        return math.exp((high - low) * (1.0 - percent) + low)


def consistency_weights(timestep: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of x and of the network's D, with which D is x at timestep 0.

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
