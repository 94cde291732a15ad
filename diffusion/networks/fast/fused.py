"""The kernels as functions of tensors: group and layer norms, residuals, gated feed-forwards."""

from __future__ import annotations

import torch
import triton
from torch import Tensor, nn

from . import kernels

# A group of this many values is read once and stays in registers; a larger one is read twice.
MAX_GROUP_VALUES = 4_096
# Values for each warp of a group in registers.
VALUES_PER_WARP = 4_096
# Chunks of an image whose channels are summed side by side.
CHUNKS, CHUNKS_OF_LARGE = 16, 64
LARGE_PIXELS = 4096


def group_norm(x: Tensor, norm: nn.GroupNorm, *, silu: bool, added: Tensor | None = None) -> Tensor:
    """Normalise x + added, N×C×H×W, and apply SiLU if asked; the result is channels-last.

    Args:
        added: N×C or 1×C, the same at every pixel.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    pixels, y = height * width, torch.empty_like(x)
    group = channels // norm.num_groups
    stride = 0 if added is None or len(added) == 1 else added.stride(0)
    rows, columns = triton.next_power_of_2(pixels), triton.next_power_of_2(group)
    extra = x if added is None else added
    if rows * columns <= MAX_GROUP_VALUES:
        kernels.group_norm_at_once[(batch, norm.num_groups)](
            x, extra, norm.weight, norm.bias, y, pixels, channels, group, stride, norm.eps,
            HAS_ADDED=added is not None, SILU=silu, ROWS=rows, COLUMNS=columns,
            num_warps=min(16, max(4, rows * columns // VALUES_PER_WARP)),
        )  # fmt: skip
        return y
    moments = _group_moments(x, norm, added, stride)
    rows, columns = 64 if pixels >= LARGE_PIXELS else 16, 64
    grid = (triton.cdiv(pixels, rows), triton.cdiv(channels, columns), batch)
    kernels.group_norm_apply[grid](
        x, extra, moments, norm.weight, norm.bias, y, pixels, channels, group, stride,
        HAS_ADDED=added is not None, SILU=silu, ROWS=rows, COLUMNS=columns,
    )  # fmt: skip
    return y


def _group_moments(x: Tensor, norm: nn.GroupNorm, added: Tensor | None, stride: int) -> Tensor:
    """Return the mean and the inverse deviation of each group, N×G×2 float32."""
    batch, channels, height, width = x.shape
    pixels = height * width
    chunks, columns = CHUNKS_OF_LARGE if pixels >= LARGE_PIXELS else CHUNKS, 64
    group = channels // norm.num_groups
    sums = x.new_empty((batch, chunks, 2, channels), dtype=torch.float32)
    moments = x.new_empty((batch, norm.num_groups, 2), dtype=torch.float32)
    kernels.channel_sums[(batch, chunks, triton.cdiv(channels, columns))](
        x, x if added is None else added, sums,
        pixels, channels, triton.cdiv(pixels, chunks), stride,
        CHUNKS=chunks, HAS_ADDED=added is not None,
        ROWS=64 if pixels >= LARGE_PIXELS // 4 else 16, COLUMNS=columns,
    )  # fmt: skip
    kernels.group_moments[(batch, norm.num_groups)](
        sums, moments, pixels, channels, group, norm.eps,
        CHUNKS=chunks, COLUMNS=triton.next_power_of_2(group),
    )  # fmt: skip
    return moments


def add_with_bias(x: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """Return x + bias + skip, N×C×H×W channels-last; bias has C values."""
    x = x.contiguous(memory_format=torch.channels_last)
    skip = skip.contiguous(memory_format=torch.channels_last)
    channels, y = x.shape[1], torch.empty_like(x)
    count, columns = x.numel() // channels, 128 if channels % 128 == 0 else 64
    kernels.add_with_bias[(triton.cdiv(count, 16), triton.cdiv(channels, columns))](
        x, bias, skip, y, count, channels, ROWS=16, COLUMNS=columns
    )
    return y


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return the layer norm of x, over its last axis."""
    y = torch.empty_like(x)
    _launch_layer_norm(x, None, norm, x, y)
    return y


def add_layer_norm(x: Tensor, added: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Return x + added, and its layer norm over the last axis; both tensors are contiguous."""
    total, y = torch.empty_like(x), torch.empty_like(x)
    _launch_layer_norm(x, added, norm, total, y)
    return total, y


def _launch_layer_norm(
    x: Tensor, added: Tensor | None, norm: nn.LayerNorm, total: Tensor, y: Tensor
) -> None:
    channels = x.shape[-1]
    kernels.add_layer_norm[(x.numel() // channels,)](
        x, x if added is None else added, norm.weight, norm.bias, total, y, channels, norm.eps,
        HAS_ADDED=added is not None, COLUMNS=triton.next_power_of_2(channels),
    )  # fmt: skip


def gated_gelu(x: Tensor) -> Tensor:
    """Return the first half of the last axis times GELU of the second; x is contiguous."""
    width = x.shape[-1] // 2
    y = x.new_empty((*x.shape[:-1], width))
    count = y.numel() // width
    kernels.gated_gelu[(triton.cdiv(count, 8), triton.cdiv(width, 256))](
        x, y, count, width, ROWS=8, COLUMNS=256
    )
    return y
