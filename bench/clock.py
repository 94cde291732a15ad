"""Times of calls, and the figures that benchmarks report."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measured figure; `aim` is the value to stay under, if there is one."""

    name: str
    value: float
    unit: str
    aim: float | None = None


def median_time(call: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of repeated calls."""
    return statistics.median(time_call(call) for _ in range(repeats))


def time_call(call: Callable[[], object]) -> float:
    """Return the time of one call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
