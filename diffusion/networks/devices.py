"""The device that networks run on, and the precision of each part there; chosen once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

THREADS = torch.get_num_threads()


@cache
def device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe() -> list[tuple[str, str, int | None, int, int, int, int]]:
    """The accelerators: name, type, index; bytes of memory, all and free, and torch's own share."""
    if device().type == "mps":
        used = torch.mps.current_allocated_memory()
        total = torch.mps.recommended_max_memory()
        return [("mps", "mps", None, total, total - used, used, 0)]
    if device().type != "cuda":
        return []
    found: list[tuple[str, str, int | None, int, int, int, int]] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        held = torch.cuda.memory_reserved(index)
        unused = held - torch.cuda.memory_allocated(index)
        name = f"cuda:{index} {torch.cuda.get_device_name(index)}"
        found.append((name, "cuda", index, total, free + unused, held, unused))
    return found


def network_dtype() -> torch.dtype:
    """Precision of a denoising network: float16 on an accelerator, float32 on the CPU."""
    return torch.float32 if device().type == "cpu" else torch.float16


def vae_dtype() -> torch.dtype:
    """Precision of an autoencoder: bfloat16 where the card itself computes it, else float32.

    float16 overflows in some autoencoders; a bfloat16 that is emulated is slow and coarse.
    """
    if device().type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Compute in this thread alone, as what runs beside networks on a CPU should.

    Each thread that computes in parallel keeps workers of its own, and with more workers than
    cores OpenMP lets all of them sleep between two layers: small networks take twice as long.
    """
    before = torch.get_num_threads()
    if before == 1 or device().type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def use_all_threads() -> Iterator[None]:
    """Compute in this thread with as many as torch had at first.

    A thread that begins while another computes alone begins with one.
    """
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)
    yield
