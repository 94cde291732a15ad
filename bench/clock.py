"""Medians of repeated calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measured figure; `aim` is what it should stay under, if anything says so."""

    name: str
    value: float
    unit: str
    aim: float | None = None


def median_seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """The median time of a call."""
    return statistics.median(seconds(call) for _ in range(repeats))


def seconds(call: Callable[[], object]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
