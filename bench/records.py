"""The figures of `bench.gpu`: measured, printed, and written to a file after each row."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.activity import trace, trace_steps
from bench.clock import time_call
from bench.networks import quiet, synchronize
from latentloom.diffusion.networks.fast.setting import VARIABLE
from latentloom.diffusion.networks.weights import Weights

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to compute a row.

    Attributes:
        work: computes it once; is given a number of steps.
        fast: value of LATENTLOOM_FAST meanwhile.
        counted: the network whose captured and eager calls are reported.
    """

    name: str
    work: Callable[[int], object]
    fast: str = "auto"
    counted: Weights | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One figure of one contender; what was not measured is None.

    Attributes:
        value: the median.
        first: the first run, which may compile, capture or load.
        kernels, launches, waits: of a step, or of a run without steps; from a trace.
        busy: share of the time in which the device computes.
        floor: share of the time that the arithmetic takes at the ceiling.
        peak_mb: memory at its peak, beyond that before the first run.
        aim: value to stay under.
        calls: of the network in a run, captured or eager, and why.
        error: the reason, where the row has no value.
    """

    row: str
    contender: str
    value: float | None = None
    unit: str = "ms"
    fastest: float | None = None
    slowest: float | None = None
    first: float | None = None
    kernels: float | None = None
    launches: float | None = None
    waits: float | None = None
    busy: float | None = None
    floor: float | None = None
    peak_mb: float | None = None
    aim: float | None = None
    calls: str = ""
    error: str = ""


HEADER = (
    f"{'':38} {'':22} {'median':>9} {'fastest':>8} {'slowest':>8} {'first':>8}"
    f" {'kernels':>7} {'launch':>6} {'waits':>5} {'busy':>5} {'floor':>5} {'peak MB':>7} {'aim':>6}"
)


def format_record(record: Record) -> str:
    """Return a record as a line of the table."""
    if record.error:
        return f"{record.row:38} {record.contender:22} failed: {record.error}"
    value = f"{record.value:9.4g}" if record.value is not None else " " * 9
    times = "".join(
        f" {time:8.1f}" if time is not None else " " * 9
        for time in (record.fastest, record.slowest, record.first)
    )
    counts = "".join(
        f" {count:{width}.0f}" if count is not None else " " * (width + 1)
        for count, width in ((record.kernels, 7), (record.launches, 6), (record.waits, 5))
    )
    shares = "".join(
        f" {share:5.0%}" if share is not None else " " * 6 for share in (record.busy, record.floor)
    )
    peak = f" {record.peak_mb:7.0f}" if record.peak_mb is not None else " " * 8
    aim = f" {record.aim:6g}" if record.aim is not None else " " * 7
    line = f"{record.row:38} {record.contender:22} {value}{times}{counts}{shares}{peak}{aim}"
    return f"{line} {record.unit} {record.calls}".rstrip()


@dataclass
class Report:
    """The records of a run, written to a file whenever one is added."""

    path: Path
    machine: dict[str, Any]
    records: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Print a record, and write the file anew."""
        print(format_record(record), flush=True)
        self.records.append(record)
        self.write()

    def write(self) -> None:
        """Replace the file; a kill leaves it as it was or as it is now."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"machine": self.machine, "rows": [asdict(record) for record in self.records]}
        temporary = self.path.with_name(f"{self.path.name}.new")
        with temporary.open("w") as stream:
            stream.write(json.dumps(data, indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.path)


@contextmanager
def fast_setting(value: str) -> Iterator[None]:
    """Set LATENTLOOM_FAST for a while."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The settings of a row's measurements.

    Attributes:
        steps: of a run; 0 for work without steps.
        is_per_step: report the time of a step instead of that of a run.
        operations: arithmetic of a run.
        rate: operations a second at the device's ceiling.
        aim: of the first contender, in the reported unit.
        measured: collects what can be traced later; a tracer may slow down what runs after it.
    """

    device: torch.device
    repeats: int
    steps: int
    is_per_step: bool = False
    operations: float = 0
    rate: float = 0
    aim: float | None = None
    measured: list[Measured] | None = None

    def measure(self, row: str, contenders: Sequence[Contender]) -> Iterator[Record]:
        """Run the contenders once each, then in turns; yield a record of each.

        One that fails, for lack of memory for instance, gets a record of its error.
        """
        running: dict[str, tuple[Contender, Record]] = {}
        for contender in contenders:
            record = self._run_first(row, contender)
            if record.error:
                yield record
            else:
                running[contender.name] = (contender, record)
        times: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(self.repeats):
            for name, (contender, _) in running.items():
                times[name].append(self._time(contender))
        for name, (contender, record) in running.items():
            aim = self.aim if contender is contenders[0] else None
            yield self._complete(contender, replace(record, aim=aim), times[name])

    def _run_first(self, row: str, contender: Contender) -> Record:
        before = _allocated(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            first = self._time(contender)
        except Exception as error:  # noqa: BLE001 - it may lack memory, or not run on this device
            return failure(row, contender.name, error)
        peak = None
        if self.device.type == "cuda":
            peak = (torch.cuda.max_memory_allocated(self.device) - before) / MEGABYTE
        return Record(row=row, contender=contender.name, first=first, peak_mb=peak)

    def _time(self, contender: Contender) -> float:
        """Return the milliseconds of one run, or of one step of it."""

        def work() -> None:
            contender.work(self.steps)
            synchronize(self.device)

        with fast_setting(contender.fast), quiet():
            return time_call(work) * 1e3 / (self.steps if self.is_per_step else 1)

    def _complete(self, contender: Contender, record: Record, times: list[float]) -> Record:
        median = statistics.median(times)
        run_s = median / 1e3 * (self.steps if self.is_per_step else 1)
        record = replace(record, value=median, fastest=min(times), slowest=max(times))
        if self.operations and self.rate:
            record = replace(record, floor=self.operations / self.rate / run_s)
        if contender.counted is not None:
            record = replace(record, calls=self._count_calls(contender, contender.counted))
        if self.measured is not None:
            self.measured.append(Measured(self, contender, record))
        return record

    def trace(self, contender: Contender, record: Record) -> Record:
        """Return the record of a contender's kernels, launches, waits and busy time."""
        steps = self.steps or 1
        with fast_setting(contender.fast):
            if self.steps:
                activities = trace_steps(contender.work, self.device)
                counted, run = activities.step, activities.of_run(steps)
            else:
                counted = run = trace(lambda: contender.work(0), self.device)
        busy = run.busy_s * 1e3 / (steps if self.is_per_step else 1)
        return Record(
            row=record.row,
            contender=record.contender,
            value=busy,
            unit="ms busy",
            kernels=counted.kernels,
            launches=counted.launches,
            waits=counted.waits,
            busy=busy / record.value if record.value else None,
        )

    def _count_calls(self, contender: Contender, weights: Weights) -> str:
        captured, eager = weights.captured_calls, weights.eager_calls
        self._time(contender)
        captured, eager = weights.captured_calls - captured, weights.eager_calls - eager
        reason = weights.eager_reason or (weights._fast.failure if weights._fast else None)
        return f"{captured} captured, {eager} eager{f': {reason}' if reason and eager else ''}"


class Measured(NamedTuple):
    """A contender whose time was measured, and its record."""

    measuring: Measuring
    contender: Contender
    record: Record

    def trace(self) -> Record:
        """Return the record of its kernels, launches, waits and busy time."""
        return self.measuring.trace(self.contender, self.record)


def failure(row: str, contender: str, error: Exception) -> Record:
    """Return the record of a row that failed, with the first line of the error."""
    message = (str(error).splitlines() or [""])[0]
    return Record(row=row, contender=contender, error=f"{type(error).__name__}: {message}")


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
