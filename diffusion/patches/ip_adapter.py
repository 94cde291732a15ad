"""Images as prompts: cross-attention to image tokens, added to that of the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, scaled_dot_product_attention

from ..networks.attention import find_cross_attentions, replace_processor, track_input_size
from ..networks.ip_adapter import ImageTokens, IpAdapter
from ..networks.patch import StepState


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """Adds attention to image tokens to each cross-attention layer.

    Attributes:
        weight: factor of the added attention; 0 changes nothing.
        start, end: shares of the schedule between which it acts; 0 is noise, 1 is the image.
        mask: B×H×W, 1 where it acts; None is everywhere. It covers the whole latent, so that
            tiled sampling takes none.
    """

    adapter: IpAdapter
    tokens: ImageTokens
    _: KW_ONLY
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = None

    @property
    def fingerprint(self) -> str:
        """Identify the patch by its adapter, settings and tensors."""
        sink = hashlib.sha256(repr((self.weight, self.start, self.end)).encode())
        for tensor in (*self.tokens, self.mask):
            sink.update(b"-" if tensor is None else repr(tuple(tensor.shape)).encode())
            sink.update(b"" if tensor is None else tensor.contiguous().numpy().tobytes())
        return f"{self.adapter.fingerprint} {sink.hexdigest()}"

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Let each cross-attention layer attend to the images too."""
        matrices = self.adapter.weights.module
        with ExitStack() as attached:
            size = attached.enter_context(track_input_size(network))
            for layer, key, value in zip(
                find_cross_attentions(network), matrices.keys, matrices.values, strict=True
            ):
                processor = ImageAttention(self, state, layer.processor, key, value, size)
                attached.enter_context(replace_processor(layer, processor))
            yield

    def tokens_for(self, state: StepState, batch: int) -> Tensor:
        """Return the tokens of a batch, those of its side for each image."""
        sides = state.sides or (0,)
        by_side = [self.tokens.positive if side == 0 else self.tokens.negative for side in sides]
        return torch.cat([tokens.expand(batch // len(sides), -1, -1) for tokens in by_side])


class ImageAttention:
    """A processor of cross-attention that adds attention to image tokens."""

    def __init__(
        self,
        prompt: ImagePrompt,
        state: StepState,
        original: Any,
        key: Tensor,
        value: Tensor,
        size: list[int],
    ) -> None:
        self.prompt, self.state, self.original = prompt, state, original
        self.key, self.value, self.size = key, value, size

    def __call__(self, attention: Any, hidden_states: Tensor, *rest: Any, **options: Any) -> Tensor:
        output: Tensor = self.original(attention, hidden_states, *rest, **options)
        prompt = self.prompt
        if prompt.weight == 0 or not self.state.is_between(prompt.start, prompt.end):
            return output
        tokens = _to_like(prompt.tokens_for(self.state, len(hidden_states)), hidden_states)
        projected = (
            attention.to_q(hidden_states),
            linear(tokens, self.key),
            linear(tokens, self.value),
        )
        heads = [x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in projected]
        attended = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        added = linear(attended, attention.to_out[0].weight) * prompt.weight
        if prompt.mask is not None:
            added = added * _resize_mask(prompt.mask, self.size, added)
        return output + added


def _resize_mask(mask: Tensor, size: list[int], hidden: Tensor) -> Tensor:
    """Resize a mask to the n tokens of a layer, as factors B×n×1.

    Args:
        size: height and width of the network's input, which layers halve.
    """
    height, width = size
    while height * width > hidden.shape[1] and height * width > 1:
        height, width = -(-height // 2), -(-width // 2)
    resized = interpolate(mask[:, None].float(), size=(height, width), mode="area")
    factors = _to_like(resized.reshape(len(mask), -1, 1), hidden)
    return factors.repeat(-(-len(hidden) // len(factors)), 1, 1)[: len(hidden)]


def _to_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Convert a tensor to the dtype and device of another, without waiting for the device."""
    return tensor.to(like.device, like.dtype, non_blocking=True)
