"""Token merging: self-attention asks once for places that look alike."""

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
from ..networks.patch import StepState

CELL = 2  # of each 2×2 places one is asked for whatever it looks like
Merge = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TokenMerging:
    """Places with the most similar features share one query, where there are as many as cells.

    Keys and values stay whole. Which place of each cell stays is drawn anew at every call.

    Args:
        ratio: share of the places whose queries are merged away, at most three quarters of them;
            0 is none.

    Source: Bolya and Hoffman, "Token Merging for Fast Stable Diffusion" (arXiv 2303.17604),
    section 4; only queries are merged, as ComfyUI does.
    """

    ratio: float = 0.3

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Let each self-attention ask for fewer places."""
        with replace_self_attentions(network, partial(self._merging, state)):
            yield

    def _merging(self, state: StepState, layer: Any, size: list[int]) -> Any:
        before = layer.processor

        def merged(attention: Any, hidden: Tensor, *rest: Any, **options: Any) -> Tensor:
            count = int(hidden.shape[1] * self.ratio)
            if count == 0 or min(size) < CELL or hidden.shape[1] != math.prod(size):
                found: Tensor = before(attention, hidden, *rest, **options)
                return found
            merge, unmerge = merging(hidden, size[0], size[1], count, state.generator)
            options["encoder_hidden_states"] = hidden
            return unmerge(before(attention, merge(hidden), **options))

        return merged


def merging(
    features: Tensor, height: int, width: int, count: int, draws: torch.Generator
) -> tuple[Merge, Merge]:
    """How the places of a grid are merged, and how what was found for them is spread again.

    Args:
        features: B×n×c, row by row, n = high·wide.
        count: how many places go; as many as there are beside the kept ones at most.
        draws: chooses the place of each cell that is kept.

    Returns:
        B×n×c to B×(n-count)×c, means of what is merged; and back, to copies.
    """
    parted = _parted(height, width, draws)
    kept, rest = (each.to(features.device, non_blocking=True) for each in parted)
    alike = normalize(features, dim=-1)
    best, target = (alike[:, rest] @ alike[:, kept].mT).max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    goes, stays = order[:, :count], order[:, count:]
    target = target.gather(1, goes)

    def merge(x: Tensor) -> Tensor:
        apart = x[:, rest]
        means = x[:, kept].scatter_reduce(1, _wide(target, x), _at(apart, goes), "mean")
        return torch.cat([_at(apart, stays), means], dim=1)

    def unmerge(x: Tensor) -> Tensor:
        alone, means = x[:, : stays.shape[1]], x[:, stays.shape[1] :]
        apart = x.new_empty(len(x), len(rest), x.shape[2])
        apart.scatter_(1, _wide(stays, x), alone)
        apart.scatter_(1, _wide(goes, x), _at(means, target))
        whole = x.new_empty(len(x), height * width, x.shape[2])
        whole[:, kept], whole[:, rest] = means, apart
        return whole

    return merge, unmerge


def _parted(height: int, width: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """One place of each whole cell, and all others; numbers of places, row by row."""
    rows, columns = height // CELL, width // CELL
    chosen = torch.randint(CELL * CELL, (rows, columns, 1), generator=draws)[..., 0]
    row = torch.arange(rows)[:, None] * CELL + chosen // CELL
    column = torch.arange(columns)[None] * CELL + chosen % CELL
    keeps = torch.zeros(height, width, dtype=torch.bool)
    keeps[row, column] = True
    flat = keeps.flatten()
    return flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]


def _wide(places: Tensor, x: Tensor) -> Tensor:
    return places[..., None].expand(-1, -1, x.shape[2])


def _at(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, _wide(places, x))
