"""Sampling several latents as one batch: with their own seeds, prompts and scales of guidance.

A batch gives what each latent alone gives up to rounding: the network computes rows of a batch
independently, and each row has the noise of its own seed. What mixes rows, or draws numbers for
all of them, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning, PromptEntry
from ..latents.latents import Latent
from ..networks.handles import Model
from ..networks.lora import LoraPatch
from ..samplers.table import SAMPLER_TABLE, SamplerChoice
from .guidance import Guidance
from .hooks import SILENT, Hooks
from .noise import NoiseChoice
from .sample import SamplePlan, SamplingRun, plan_sigmas, sample_custom

# Its steps depend on the error of the whole batch.
ADAPTIVE = ("dpm_adaptive",)
# Rows of a batch, and values of latents in it: 16 of 64×64 latents with 4 channels.
MAX_ROWS, MAX_VALUES = 16, 2**18


@dataclass(frozen=True, eq=False)
class SampleRequest:
    """A latent to sample, as one call of KSampler has it."""

    latent: Latent
    positive: Conditioning
    negative: Conditioning
    plan: SamplePlan


def batch_key(model: Model, request: SampleRequest) -> Hashable | None:
    """Return a key that is equal for requests that one batch can hold; None if it must be alone.

    Tensors that all of a batch share are compared by identity.
    """
    latent, plan = request.latent, request.plan
    spec = SAMPLER_TABLE[plan.sampler]
    is_simple = (
        spec.noise in ("none", "step")
        and not (spec.resizes or spec.takes_tau or spec.takes_single_step)
        and plan.sampler not in ADAPTIVE
        and all(isinstance(patch, LoraPatch) for patch in model.patches)
    )
    if not is_simple or latent.batch_index is not None or max_requests(latent) < 2:
        return None
    if latent.noise_mask is not None and (len(latent.noise_mask) > 1 or spec.mask_noise != "own"):
        return None
    sides = (_frame(request.positive), _frame(request.negative))
    if None in sides:
        return None
    return (
        id(model.weights),
        model.patches,
        tuple(latent.samples.shape),
        id(latent.noise_mask) if latent.noise_mask is not None else None,
        replace(plan, seed=0, cfg=1.0),
        math.isclose(plan.cfg, 1.0),
        sides,
    )


def max_requests(latent: Latent) -> int:
    """Return how many latents of this size one batch may hold."""
    return min(MAX_ROWS // len(latent.samples), MAX_VALUES // latent.samples.numel())


def sample_together(
    model: Model, requests: Sequence[SampleRequest], hooks: Hooks = SILENT
) -> list[Latent]:
    """Sample requests of equal keys as one batch; return a latent for each.

    Raises:
        SamplingError: the model gave NaN or infinity.
    """
    first, count = requests[0], len(requests)
    rows = len(first.latent.samples)
    plan = first.plan
    batch = replace(
        first.latent, samples=torch.cat([request.latent.samples for request in requests])
    )
    guidance = Guidance(
        model,
        _join([request.positive for request in requests], rows),
        _join([request.negative for request in requests], rows),
        plan.cfg,
        scales=tuple(request.plan.cfg for request in requests),
    )
    run = SamplingRun(
        plan_sigmas(model, plan),
        SamplerChoice(plan.sampler),
        NoiseChoice(plan.seed, plan.add_noise, tuple(request.plan.seed for request in requests)),
        plan.scheduler,
        plan.mode,
    )
    if not len(run.sigmas):
        return [request.latent for request in requests]
    result = sample_custom(guidance, batch, run, hooks).output
    done = replace(result.passes[-1], seconds=result.passes[-1].seconds / count)
    return [
        replace(request.latent, samples=samples.clone(), passes=(*request.latent.passes, done))
        for request, samples in zip(requests, result.samples.chunk(count), strict=True)
    ]


def _frame(conditioning: Conditioning) -> Hashable | None:
    """Return what the entries of a batch must have in common; None if they must be alone."""
    frames: list[Hashable] = []
    for entry in conditioning:
        if any(part is not None for part in (entry.inpaint, entry.image, entry.region)):
            return None
        if entry.references or len(entry.tokens) > 1:
            return None
        pooled = None if entry.pooled is None else tuple(entry.pooled.shape)
        values = [
            tuple(map(id, value)) if name == "controls" else value
            for name in (field.name for field in fields(PromptEntry))
            if name not in ("tokens", "pooled")
            for value in (getattr(entry, name),)
        ]
        frames.append((tuple(entry.tokens.shape), pooled, *values))
    return tuple(frames)


def _join(sides: Sequence[Conditioning], rows: int) -> Conditioning:
    """Return one side of a batch: its entries have a row of tokens for each latent."""
    return tuple(
        replace(
            entries[0],
            tokens=_rows([entry.tokens for entry in entries], rows),
            pooled=None
            if entries[0].pooled is None
            else _rows([entry.pooled for entry in entries if entry.pooled is not None], rows),
        )
        for entries in zip(*sides, strict=True)
    )


def _rows(tensors: Sequence[Tensor], rows: int) -> Tensor:
    if all(tensor is tensors[0] for tensor in tensors):
        return tensors[0]
    return torch.cat([tensor.expand(rows, *tensor.shape[1:]) for tensor in tensors])
