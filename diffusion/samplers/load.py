"""From a row of the table to the sampler's function and sigmas for a model."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from ..families.family import Prediction
from ..schedules.model_sampling import ModelSampling
from .flow import by_ratio
from .table import BY_RATIO, SAME, SamplerSpec

# Share of the schedule at which samplers start that cannot start from pure noise.
BELOW_ONE = 1e-4


def load_sampler(spec: SamplerSpec, prediction: Prediction) -> Callable[..., Tensor]:
    """Return the sampler's function, in its form for models of this prediction type."""
    if prediction != "flow" or spec.flow == SAME:
        return _import(spec.function)
    return by_ratio(_import(spec.function)) if spec.flow == BY_RATIO else _import(spec.flow)


def fit_sigmas(spec: SamplerSpec, sampling: ModelSampling, sigmas: Tensor) -> Tensor:
    """Return the sigmas that the sampler goes through for these."""
    if sampling.prediction == "flow" and spec.starts_below_one and sigmas[0] >= 1:
        first = torch.tensor([sampling.percent_to_sigma(BELOW_ONE)])
        return torch.cat([first, sigmas[1:]])
    return sigmas


def _import(path: str) -> Callable[..., Tensor]:
    module, _, name = path.partition(":")
    function: Callable[..., Tensor] = getattr(import_module(f".{module}", __package__), name)
    return function
