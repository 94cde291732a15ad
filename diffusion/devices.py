"""The device that networks run on, and the precision of each part there; chosen once."""

from __future__ import annotations

from functools import cache

import torch


@cache
def device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def network_dtype() -> torch.dtype:
    """Precision of a denoising network: float16 on an accelerator, float32 on the CPU."""
    return torch.float32 if device().type == "cpu" else torch.float16


def vae_dtype() -> torch.dtype:
    """Precision of an autoencoder: bfloat16 where CUDA computes it, else float32.

    float16 overflows in some autoencoders.
    """
    if device().type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32
