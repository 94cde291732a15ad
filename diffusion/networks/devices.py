"""The device that networks run on, the precision of each part there, and threads on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

THREADS = torch.get_num_threads()


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """An accelerator.

    Attributes:
        ordinal: its number among several; None where there is one.
        reserved_bytes: memory that torch holds, of which `unused_bytes` is not in use.
    """

    name: str
    type: str
    ordinal: int | None
    total_bytes: int
    free_bytes: int
    reserved_bytes: int
    unused_bytes: int


@cache
def device() -> torch.device:
    """Return CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def list_accelerators() -> list[Accelerator]:
    """List the accelerators of this machine."""
    if device().type == "mps":
        used = torch.mps.current_allocated_memory()
        total = torch.mps.recommended_max_memory()
        return [
            Accelerator(
                name="mps",
                type="mps",
                ordinal=None,
                total_bytes=total,
                free_bytes=total - used,
                reserved_bytes=used,
                unused_bytes=0,
            )
        ]
    if device().type != "cuda":
        return []
    accelerators: list[Accelerator] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        reserved = torch.cuda.memory_reserved(index)
        unused = reserved - torch.cuda.memory_allocated(index)
        accelerators.append(
            Accelerator(
                name=f"cuda:{index} {torch.cuda.get_device_name(index)}",
                type="cuda",
                ordinal=index,
                total_bytes=total,
                free_bytes=free + unused,
                reserved_bytes=reserved,
                unused_bytes=unused,
            )
        )
    return accelerators


def network_dtype() -> torch.dtype:
    """Return the precision of UNets: float16 on an accelerator, float32 on the CPU."""
    return torch.float32 if device().type == "cpu" else torch.float16


def vae_dtype() -> torch.dtype:
    """Return the precision of autoencoders: float16 on CUDA, else float32.

    float16 is nearer to float32 than bfloat16 is; what overflows in it is computed again in
    `wide_dtype`.
    """
    return torch.float16 if device().type == "cuda" else torch.float32


def wide_dtype() -> torch.dtype:
    """Return the precision for what overflows in float16: bfloat16 where it is fast, or float32.

    Emulated bfloat16 is slow and coarse.
    """
    if device().type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Compute in this thread alone, as work beside networks on a CPU should.

    Every thread that computes in parallel has its own OpenMP workers. With more workers than
    cores, OpenMP lets all of them sleep between two layers: small networks take twice as long.
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
    """Compute in this thread with all threads that torch started with.

    A thread that starts while another uses one thread inherits that number.
    """
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)
    yield
