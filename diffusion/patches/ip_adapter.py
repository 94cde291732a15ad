"""Images as prompts: attention to their tokens beside that to the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, scaled_dot_product_attention

from ..networks.attention import cross_attentions, replace_processor, track_input_size
from ..networks.ip_adapter import ImageTokens, IpAdapter
from ..networks.patch import StepState


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """Adds to each cross-attention what its queries find in the tokens of images.

    Attributes:
        weight: what is found there is multiplied with; 0 leaves the network as it is.
        start, end: shares of the way from noise (0) to image (1) between which it acts.
        mask: B×H×W, 1 where it acts; None is everywhere. It is for the whole latent, so that
            a model that is asked in tiles takes none.
    """

    adapter: IpAdapter
    tokens: ImageTokens
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = None

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        sink = hashlib.sha256(repr((self.weight, self.start, self.end)).encode())
        for each in (*self.tokens, self.mask):
            sink.update(b"-" if each is None else repr(tuple(each.shape)).encode())
            sink.update(b"" if each is None else each.contiguous().numpy().tobytes())
        return f"{self.adapter.fingerprint} {sink.hexdigest()}"

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Let each cross-attention look at the images too."""
        matrices = self.adapter.weights.module
        with ExitStack() as attached:
            size = attached.enter_context(track_input_size(network))
            for layer, key, value in zip(
                cross_attentions(network), matrices.keys, matrices.values, strict=True
            ):
                look = _Look(self, state, layer.processor, key, value, size)
                attached.enter_context(replace_processor(layer, look))
            yield

    def pieces(self, state: StepState, batch: int) -> Tensor:
        """The tokens for each image of a batch: those of its side."""
        count = len(state.sides) or 1
        sides = state.sides or (0,)
        chosen = [self.tokens.positive if side == 0 else self.tokens.negative for side in sides]
        return torch.cat([each.expand(batch // count, -1, -1) for each in chosen])


class _Look:
    """A cross-attention with one more place to look at."""

    def __init__(
        self,
        prompt: ImagePrompt,
        state: StepState,
        before: Any,
        key: Tensor,
        value: Tensor,
        size: list[int],
    ) -> None:
        self.prompt, self.state, self.before = prompt, state, before
        self.key, self.value, self.size = key, value, size

    def __call__(self, attention: Any, hidden_states: Tensor, *rest: Any, **options: Any) -> Tensor:
        found: Tensor = self.before(attention, hidden_states, *rest, **options)
        prompt = self.prompt
        if prompt.weight == 0 or not self.state.is_between(prompt.start, prompt.end):
            return found
        tokens = _beside(hidden_states, prompt.pieces(self.state, len(hidden_states)))
        parts = (
            attention.to_q(hidden_states),
            linear(tokens, self.key),
            linear(tokens, self.value),
        )
        heads = [each.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for each in parts]
        seen = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        added = linear(seen, attention.to_out[0].weight) * prompt.weight
        if prompt.mask is not None:
            added = added * _over_places(prompt.mask, self.size, added)
        return found + added


def _over_places(mask: Tensor, size: list[int], places: Tensor) -> Tensor:
    """A mask as factors B×n×1 for the n places of a layer, whose rows and columns shrank alike."""
    height, width = size
    while height * width > places.shape[1] and height * width > 1:
        height, width = -(-height // 2), -(-width // 2)
    fitted = interpolate(mask[:, None].float(), size=(height, width), mode="area")
    factors = _beside(places, fitted.reshape(len(mask), -1, 1))
    return factors.repeat(-(-len(places) // len(factors)), 1, 1)[: len(places)]


def _beside(like: Tensor, given: Tensor) -> Tensor:
    """Given numbers in the type and on the device of others; nothing waits for the device."""
    return given.to(like.device, like.dtype, non_blocking=True)
