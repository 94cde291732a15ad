"""The least time that a workload could take on a device: its arithmetic at the device's own rate.

Both are measured in the run that they are told of: matrix products, convolutions and attention
are counted as they are asked for, the rate is that of one large matrix product.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.clock import seconds

SIDE, TIMES, PRODUCTS = 8192, 7, 10


def operations(work: Callable[[], object]) -> int:
    """How many floating-point operations a piece of work asks for; an addition is one."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second in products of large random matrices, the median."""
    first, second = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(first, second)
        torch.cuda.synchronize(device)

    products()
    taken = statistics.median(seconds(products) for _ in range(TIMES))
    return 2 * SIDE**3 * PRODUCTS / taken
