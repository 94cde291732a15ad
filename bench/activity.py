"""Counts of what a device does while some work runs, and the ceilings of its rates.

Without an NVIDIA GPU there is nothing to trace, and all counts are 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch

from bench.clock import time_call
from bench.floor import measure_rate
from bench.networks import quiet, synchronize

FEW_STEPS, MORE_STEPS = 2, 6
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cuGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "cuStreamSynchronize")
COPIES = ("Memcpy", "Memset")
# Events of the tracer itself, which it puts on the device's line.
TRACING = ("Activity Buffer Request", "Command Buffer Full", "Lazy", "Runtime Triggered")
COPIED_BYTES, SMALL_OPERATIONS, REPEATS = 2**30, 1000, 7


class Activity(NamedTuple):
    """Counts of what a device did.

    Attributes:
        kernels: that ran, those of graphs included.
        launches: by the host, of kernels and of graphs.
        waits: of the host for the device.
        busy_s: sum of the durations of kernels and copies.
    """

    kernels: float = 0
    launches: float = 0
    waits: float = 0
    busy_s: float = 0

    def scaled(self, factor: float) -> Activity:
        """Return all counts times a factor."""
        return Activity(*(value * factor for value in self))

    def plus(self, other: Activity) -> Activity:
        """Return the sums of counts."""
        return Activity(*(a + b for a, b in zip(self, other, strict=True)))


class StepActivity(NamedTuple):
    """The activity of one step, and what a run adds to that of its steps."""

    step: Activity
    fixed: Activity

    def of_run(self, steps: int) -> Activity:
        """Return the activity of a run."""
        return self.fixed.plus(self.step.scaled(steps))


def trace(work: Callable[[], object], device: torch.device) -> Activity:
    """Trace one call of some work, which has warmed up."""
    if device.type != "cuda":
        return Activity()
    from torch.profiler import ProfilerActivity, profile

    with quiet(), profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        work()
        synchronize(device)
    kernels, launches, waits, busy_us = 0, 0, 0, 0.0
    for event in profiler.events() or ():
        if event.device_type.name == "CUDA":
            if not event.is_user_annotation and not event.name.startswith(TRACING):
                busy_us += event.time_range.elapsed_us()
                kernels += not event.name.startswith(COPIES)
        else:
            launches += event.name.startswith(LAUNCHES)
            waits += event.name.startswith(WAITS)
    return Activity(kernels, launches, waits, busy_us / 1e6)


def trace_steps(work: Callable[[int], object], device: torch.device) -> StepActivity:
    """Trace runs of few and of more steps; their difference is the activity of a step."""
    few = trace(lambda: work(FEW_STEPS), device)
    more = trace(lambda: work(MORE_STEPS), device)
    step = more.plus(few.scaled(-1)).scaled(1 / (MORE_STEPS - FEW_STEPS))
    return StepActivity(step, few.plus(step.scaled(-FEW_STEPS)))


class Ceilings(NamedTuple):
    """The rates of a device: operations and copied bytes a second, and seconds of a small call."""

    operations: float
    bytes: float
    small_call_s: float


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure products of large matrices, copies within the device, and calls from Python.

    Bytes that are read and bytes that are written both count.
    """
    nbytes = COPIED_BYTES if device.type == "cuda" else COPIED_BYTES // 64
    source = torch.ones(nbytes // 4, device=device)
    target = torch.empty_like(source)
    small = torch.ones(1, device=device)

    def copy() -> None:
        target.copy_(source)
        synchronize(device)

    def call() -> None:
        for _ in range(SMALL_OPERATIONS):
            small.add_(1)

    copy()
    call()
    synchronize(device)
    copy_s = statistics.median(time_call(copy) for _ in range(REPEATS))
    call_s = statistics.median(time_call(call) for _ in range(REPEATS)) / SMALL_OPERATIONS
    return Ceilings(measure_rate(device, dtype), 2 * nbytes / copy_s, call_s)
