"""Layers that store their weights in the precision of their file and compute in that of inputs.

Converting a layer's weights for each call costs little next to holding all of them in float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional


class NarrowLinear(nn.Linear):
    """A linear layer that computes in the precision of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ...×outputs of an input ...×inputs."""
        return functional.linear(input, self.weight.to(input.dtype), self.bias)


class NarrowEmbedding(nn.Embedding):
    """A table of vectors that are looked up as float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors ...×d of ids."""
        weight = self.weight
        if weight.element_size() > 1:
            return functional.embedding(input, weight).float()
        rows = weight.view(torch.uint8)[input]  # 8-bit numbers cannot be looked up themselves
        return rows.view(weight.dtype).float()


def list_narrow_weights(module: nn.Module) -> Iterator[str]:
    """Yield the names of the weights that may be stored in a narrower precision than float32.

    Layers that diffusers takes for sensitive are left out.
    """
    sensitive = getattr(module, "_skip_layerwise_casting_patterns", None) or ()
    for name, layer in module.named_modules():
        is_sensitive = any(re.search(pattern, name) for pattern in sensitive)
        if type(layer) in (nn.Linear, nn.Embedding) and not is_sensitive:
            yield f"{name}.weight"


def find_dtype(module: nn.Module) -> torch.dtype:
    """Return the precision that a network computes in: of weights that are not in such layers."""
    for layer in module.modules():
        if not isinstance(layer, NarrowLinear | NarrowEmbedding):
            for parameter in layer.parameters(recurse=False):
                return parameter.dtype
    return next(module.parameters()).dtype


def compute_wide(module: nn.Module) -> None:
    """Let the layers of a network compute in the precision of their inputs."""
    swapped = {nn.Linear: NarrowLinear, nn.Embedding: NarrowEmbedding, **_wide_t5()}
    for layer in module.modules():
        layer.__class__ = swapped.get(type(layer), type(layer))


@cache
def _wide_t5() -> Mapping[type[nn.Module], type[nn.Module]]:
    """Return a class for T5's gated networks, which round to the precision of a weight."""
    from transformers.models.t5.modeling_t5 import T5DenseGatedActDense

    class WideGatedNetwork(T5DenseGatedActDense):  # type: ignore[misc]
        """The gated network of a T5 layer, in the precision of its input."""

        def forward(self, hidden_states: Tensor) -> Tensor:
            gate = self.act(self.wi_0(hidden_states))
            output: Tensor = self.wo(gate * self.wi_1(hidden_states))
            return output

    return {T5DenseGatedActDense: WideGatedNetwork}
