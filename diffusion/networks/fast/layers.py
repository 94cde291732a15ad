"""Lean forwards of diffusers' layers: NHWC, fused kernels, several products in one.

They read the layers' own parameters, so a weight that is changed in its storage counts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Fused(Protocol):
    """Operations that take one pass over memory: the Triton kernels of `fused.py`."""

    def group_norm(
        self, x: Tensor, norm: nn.GroupNorm, *, silu: bool, added: Tensor | None = None
    ) -> Tensor: ...
    def add_with_bias(self, x: Tensor, bias: Tensor, skip: Tensor) -> Tensor: ...
    def layer_norm(self, x: Tensor, norm: nn.LayerNorm) -> Tensor: ...
    def add_layer_norm(
        self, x: Tensor, added: Tensor, norm: nn.LayerNorm
    ) -> tuple[Tensor, Tensor]: ...
    def gated_gelu(self, x: Tensor) -> Tensor: ...


def join(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Bring parameters into one storage, along their first axis; each becomes a view of it."""
    joined = torch.cat([parameter.data for parameter in parameters])
    parts = torch.split(joined, [len(parameter) for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part
    return joined


class TimeProjections:
    """The projections of the timestep in all residual blocks, as one product."""

    def __init__(self, blocks: Sequence[Any]) -> None:
        self._weight = join([block.time_emb_proj.weight for block in blocks])
        self._bias = join([block.time_emb_proj.bias for block in blocks])
        # Added at the same place as the projection, so that the convolution needs no bias.
        self._first_bias = join([block.conv1.bias for block in blocks])
        self._sizes = [block.out_channels for block in blocks]
        self._index = {id(block): index for index, block in enumerate(blocks)}
        self.forget()

    def forget(self) -> None:
        """Release the projections of the last call."""
        self._embedding: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def __call__(self, block: nn.Module, embedding: Tensor) -> Tensor:
        """Return a block's projection of an embedding B×d, with the first convolution's bias."""
        if self._embedding is not embedding:
            bias = self._bias + self._first_bias
            projected = functional.linear(functional.silu(embedding), self._weight, bias)
            self._embedding, self._parts = embedding, torch.split(projected, self._sizes, dim=1)
        return self._parts[self._index[id(block)]]


class ResidualForward:
    """The forward of a `ResnetBlock2D`."""

    def __init__(self, block: Any, times: TimeProjections | None, fused: Fused) -> None:
        self._block, self._times, self._fused = block, times, fused

    def __call__(self, x: Tensor, temb: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        block, fused = self._block, self._fused
        hidden = _convolve(block.conv1, fused.group_norm(x, block.norm1, silu=True))
        if self._times is None or temb is None:
            added = block.conv1.bias[None]
        else:
            added = self._times(block, temb)
        hidden = fused.group_norm(hidden, block.norm2, silu=True, added=added)
        hidden = _convolve(block.conv2, hidden)
        if block.conv_shortcut is not None:
            x = _project_pixels(block.conv_shortcut, x)
        return fused.add_with_bias(hidden, block.conv2.bias, x)


class TransformerForward:
    """The forward of a `Transformer2DModel`; its context is what `PromptProjections` returns."""

    def __init__(self, model: Any, prompts: PromptProjections, fused: Fused) -> None:
        self._model, self._prompts, self._fused = model, prompts, fused
        self._self_attentions = [
            join([block.attn1.to_q.weight, block.attn1.to_k.weight, block.attn1.to_v.weight])
            for block in model.transformer_blocks
        ]

    def __call__(
        self, x: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor]:
        model, fused = self._model, self._fused
        batch, channels, height, width = x.shape
        tokens = fused.group_norm(x, model.norm, silu=False).permute(0, 2, 3, 1)
        tokens = tokens.reshape(batch, height * width, channels)
        hidden = functional.linear(tokens, model.proj_in.weight.flatten(1), model.proj_in.bias)
        output: Tensor | None = None
        for block, joined in zip(model.transformer_blocks, self._self_attentions, strict=True):
            if output is None:
                normed = fused.layer_norm(hidden, block.norm1)
            else:
                hidden, normed = fused.add_layer_norm(hidden, output, block.norm1)
            output = _attend_to_self(block.attn1, normed, joined)
            hidden, normed = fused.add_layer_norm(hidden, output, block.norm2)
            key, value = self._prompts.parts(block.attn2, encoder_hidden_states)
            output = _attend(block.attn2, block.attn2.to_q(normed), key, value)
            hidden, normed = fused.add_layer_norm(hidden, output, block.norm3)
            output = block.ff.net[2](fused.gated_gelu(block.ff.net[0].proj(normed)))
        hidden = hidden if output is None else hidden + output
        hidden = functional.linear(hidden, model.proj_out.weight.flatten(1))
        hidden = hidden.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return (fused.add_with_bias(hidden, model.proj_out.bias, x),)


class PromptProjections:
    """Keys and values of the prompt for all cross-attention layers, as one product."""

    def __init__(self, attentions: Sequence[Any]) -> None:
        weights = [w for layer in attentions for w in (layer.to_k.weight, layer.to_v.weight)]
        self._weight = join(weights) if weights else None
        self._at: dict[int, tuple[int, int]] = {}
        end = 0
        for layer in attentions:
            self._at[id(layer)] = (end, len(layer.to_k.weight))
            end += 2 * len(layer.to_k.weight)

    def __call__(self, context: Tensor) -> Tensor:
        """Return B×n×Σ2C of a context B×n×d; `parts` takes a layer's own from it."""
        return context if self._weight is None else functional.linear(context, self._weight)

    def parts(self, layer: nn.Module, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, B×n×C each."""
        start, width = self._at[id(layer)]
        key, value = projected[..., start : start + 2 * width].chunk(2, dim=-1)
        return key, value


class FinalNormForward:
    """The forward of the last norm of a network, with the SiLU after it."""

    def __init__(self, norm: nn.GroupNorm, fused: Fused) -> None:
        self._norm, self._fused = norm, fused

    def __call__(self, x: Tensor) -> Tensor:
        return self._fused.group_norm(x, self._norm, silu=True)


def identity(x: Tensor) -> Tensor:
    """The forward of a layer whose work is done elsewhere."""
    return x


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve without the bias, which the next kernel adds."""
    return functional.conv2d(x, layer.weight, None, layer.stride, layer.padding)


def _project_pixels(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute a 1×1 convolution as a product."""
    pixels = functional.linear(x.permute(0, 2, 3, 1), layer.weight.flatten(1), layer.bias)
    return pixels.permute(0, 3, 1, 2)


def _attend_to_self(layer: Any, tokens: Tensor, joined: Tensor) -> Tensor:
    query, key, value = functional.linear(tokens, joined).chunk(3, dim=-1)
    return _attend(layer, query, key, value)


def _attend(layer: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (
        torch.unflatten(part, -1, (layer.heads, -1)).transpose(1, 2) for part in (query, key, value)
    )
    mixed = functional.scaled_dot_product_attention(query, key, value)
    output: Tensor = layer.to_out[0](mixed.transpose(1, 2).flatten(2))
    return output
