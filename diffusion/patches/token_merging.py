"""Token merging: self-attention with one query for several similar tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..networks.attention import replace_self_attentions
from ..networks.patch import StepState, ValuePatch

CELL = 2  # one token of each 2×2 is never merged away
TokenMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TokenMerging(ValuePatch):
    """Merges the queries of the most similar tokens in layers of the latent's own resolution.

    Keys and values are not merged. The token of each 2×2 that stays is drawn at every call.

    Args:
        ratio: share of the tokens whose queries are merged away, at most three quarters; 0 is
            none.

    Source: Bolya and Hoffman, "Token Merging for Fast Stable Diffusion" (arXiv 2303.17604),
    section 4; only queries are merged, as ComfyUI does.
    """

    ratio: float = 0.3

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Give each self-attention layer fewer queries."""
        with replace_self_attentions(network, partial(self._make_processor, state)):
            yield

    def _make_processor(self, state: StepState, layer: Any, size: list[int]) -> Any:
        original = layer.processor

        def process(attention: Any, hidden: Tensor, *rest: Any, **options: Any) -> Tensor:
            count = int(hidden.shape[1] * self.ratio)
            if count == 0 or min(size) < CELL or hidden.shape[1] != math.prod(size):
                output: Tensor = original(attention, hidden, *rest, **options)
                return output
            merge, unmerge = plan_merge(hidden, size[0], size[1], count, state.generator)
            options["encoder_hidden_states"] = hidden
            return unmerge(original(attention, merge(hidden), **options))

        return process


def plan_merge(
    features: Tensor, height: int, width: int, count: int, generator: torch.Generator
) -> tuple[TokenMap, TokenMap]:
    """Return a function that merges the most similar tokens of a grid, and one that restores them.

    Args:
        features: B×n×c, row by row, n = height·width.
        count: number of tokens to merge away; at most all but one of each 2×2.
        generator: draws the token of each 2×2 that stays.

    Returns:
        From B×n×c to B×(n-count)×c, where merged tokens are means; and back, to copies.
    """
    targets, sources = (
        indices.to(features.device, non_blocking=True)
        for indices in _draw_targets(height, width, generator)
    )
    directions = normalize(features, dim=-1)
    similarity, target = (directions[:, sources] @ directions[:, targets].mT).max(dim=-1)
    order = similarity.argsort(dim=-1, descending=True)
    merged, unmerged = order[:, :count], order[:, count:]
    target = target.gather(1, merged)

    def merge(x: Tensor) -> Tensor:
        source = x[:, sources]
        index = _expand(target, x)
        means = x[:, targets].scatter_reduce(1, index, _gather(source, merged), "mean")
        return torch.cat([_gather(source, unmerged), means], dim=1)

    def unmerge(x: Tensor) -> Tensor:
        single, means = x[:, : unmerged.shape[1]], x[:, unmerged.shape[1] :]
        source = x.new_empty(len(x), len(sources), x.shape[2])
        source.scatter_(1, _expand(unmerged, x), single)
        source.scatter_(1, _expand(merged, x), _gather(means, target))
        grid = x.new_empty(len(x), height * width, x.shape[2])
        grid[:, targets], grid[:, sources] = means, source
        return grid

    return merge, unmerge


def _draw_targets(height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one token of each complete 2×2; return their indices, row by row, and all others."""
    rows, columns = height // CELL, width // CELL
    drawn = torch.randint(CELL * CELL, (rows, columns, 1), generator=generator)[..., 0]
    row = torch.arange(rows)[:, None] * CELL + drawn // CELL
    column = torch.arange(columns)[None] * CELL + drawn % CELL
    is_target = torch.zeros(height, width, dtype=torch.bool)
    is_target[row, column] = True
    flat = is_target.flatten()
    return flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]


def _expand(indices: Tensor, x: Tensor) -> Tensor:
    return indices[..., None].expand(-1, -1, x.shape[2])


def _gather(x: Tensor, indices: Tensor) -> Tensor:
    return x.gather(1, _expand(indices, x))
