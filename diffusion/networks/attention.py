"""Attention layers of diffusers' UNets: find them and replace their processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def replace_processor(attention: Any, processor: object) -> Iterator[None]:
    """Compute an attention layer with another processor."""
    original = attention.processor
    attention.processor = processor
    try:
        yield
    finally:
        attention.processor = original


@contextmanager
def replace_self_attentions(
    network: nn.Module, make_processor: Callable[[Any, list[int]], object]
) -> Iterator[None]:
    """Compute the self-attention layers with other processors.

    Args:
        make_processor: takes a layer and the list of `track_input_size`.
    """
    with ExitStack() as attached:
        size = attached.enter_context(track_input_size(network))
        for layer in find_self_attentions(network):
            attached.enter_context(replace_processor(layer, make_processor(layer, size)))
        yield


@contextmanager
def track_input_size(network: nn.Module) -> Iterator[list[int]]:
    """Give a list with the height and width of the network's input, updated at each call."""
    size: list[int] = []

    def update(_network: nn.Module, inputs: tuple[Any, ...]) -> None:
        size[:] = inputs[0].shape[-2:]

    hook = network.register_forward_pre_hook(update)
    try:
        yield size
    finally:
        hook.remove()


def find_self_attentions(network: nn.Module) -> list[Any]:
    """Return the self-attention layers in the order of diffusers' processors."""
    return _attentions(network, "attn1")


def find_cross_attentions(network: nn.Module) -> list[Any]:
    """Return the cross-attention layers in the order of diffusers' processors."""
    return _attentions(network, "attn2")


def _attentions(network: Any, kind: str) -> list[Any]:
    suffix = ".processor"
    names = [name for name in network.attn_processors if name.endswith(f"{kind}{suffix}")]
    return [network.get_submodule(name.removesuffix(suffix)) for name in names]


def find_middle_attentions(network: nn.Module) -> list[Any]:
    """Return the self-attention layers of the middle block, which may have none."""
    attentions = getattr(network.get_submodule("mid_block"), "attentions", None) or ()
    return [
        block.attn1
        for attention in attentions
        if attention is not None
        for block in attention.transformer_blocks
    ]
