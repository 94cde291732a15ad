"""The least time that a workload can take on a device: its operations at the device's peak rate.

Both are measured in the reported run. Matrix products, convolutions and attention are counted;
the rate is that of a large matrix product.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.clock import time_call
from bench.networks import synchronize

SIDE, CPU_SIDE, REPEATS, PRODUCTS = 8192, 256, 7, 10


def count_operations(work: Callable[[], object]) -> int:
    """Count the floating-point operations of some work; an addition is one."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def measure_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the median rate of products of large matrices, in operations a second."""
    side = SIDE if device.type == "cuda" else CPU_SIDE
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(first, second)
        synchronize(device)

    multiply()
    median_s = statistics.median(time_call(multiply) for _ in range(REPEATS))
    return 2 * side**3 * PRODUCTS / median_s
