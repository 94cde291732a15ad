"""How the values on edges are told apart: tensors by dtype, shape and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fingerprint import Sink, register

if TYPE_CHECKING:
    from torch import Tensor


def feed_tensor(tensor: Tensor, sink: Sink) -> None:
    """Write a tensor into a hash, wherever it lies; strides and device do not count."""
    import torch

    flat = tensor.detach().to("cpu").contiguous()
    sink.update(f"T{flat.dtype}{tuple(flat.shape)}:".encode())
    sink.update(flat.reshape(-1).view(torch.uint8).numpy().data)


register("torch.Tensor", feed_tensor)
