"""Measure fast networks, plain ones and diffusers on a GPU: `python -m bench.gpu`.

Random weights of the true shapes, in one process, the contenders in turns. Rows, in this order:
ceilings of the machine; image (sampling, and sampling with decoding); errors against float32;
batch; decode; new-size, lora (first images that nothing was captured for); control; cold (a file
in a fresh process); trace (kernels, launches, waits and busy time of what was measured before,
last, since a tracer may slow down what runs after it); compiled (diffusers with torch.compile,
only with --compile). A row is
printed, and the file of results written, when it is measured: a kill loses only the row at hand.
On a CPU, `--family mini` shows that everything runs.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.activity import Ceilings, measure_ceilings
from bench.gpu_lab import FAMILIES, Lab, Options
from bench.gpu_rows import ROWS
from bench.records import HEADER, Record, Report, failure
from latentloom.diffusion.networks import devices

LIBRARIES = ("torch", "triton", "diffusers", "transformers")
COMPILE_MODES = ("max-autotune-no-cudagraphs", "reduce-overhead", "default")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=tuple(FAMILIES), default=["sd15", "sdxl"])
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS))
    parser.add_argument("--minutes", type=float, default=10.0, help="start no row after these")
    parser.add_argument("--device", default=devices.device().type)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--compile",
        nargs="?",
        choices=COMPILE_MODES,
        const=COMPILE_MODES[0],
        help="measure diffusers compiled in this mode too",
    )
    parser.add_argument("--json", type=Path, default=Path("bench/results/gpu.json"))
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Report:
    """Measure the rows that the options name, and return their records."""
    start = time.monotonic()
    device = torch.device(options.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    report = Report(options.json, describe_machine(device, dtype, options))
    print(HEADER, flush=True)
    ceilings = measure_ceilings(device, dtype)
    for record in ceiling_records(ceilings):
        report.add(record)
    settings = Options(
        device=device,
        dtype=dtype,
        repeats=options.repeats,
        steps=options.steps,
        rate=ceilings.operations,
        compile_mode=options.compile or "",
    )
    labs: dict[str, Lab] = {}
    rows = [row for row in ROWS if row in options.rows and (row != "compiled" or options.compile)]
    for row, family in ((row, family) for row in rows for family in options.family):
        if time.monotonic() - start > options.minutes * 60:
            report.add(Record(row=f"{family} {row}", contender="", error="no time left"))
            continue
        try:
            if family not in labs:
                labs[family] = Lab(family, settings)
            for record in ROWS[row](labs[family]):
                report.add(record)
        except Exception as error:  # noqa: BLE001 - the other rows are measured all the same
            report.add(failure(f"{family} {row}", "", error))
        release_memory(device)
    print(f"{time.monotonic() - start:.0f} s, {options.json}")
    return report


def ceiling_records(ceilings: Ceilings) -> list[Record]:
    """Return the rates of the machine as records."""
    values = {
        "large matrix products": (ceilings.operations / 1e12, "TFLOP/s"),
        "copies, read and written": (ceilings.bytes / 1e12, "TB/s"),
        "small call from Python": (ceilings.small_call_s * 1e6, "us"),
    }
    return [
        Record(row=row, contender="machine", value=value, unit=unit)
        for row, (value, unit) in values.items()
    ]


def describe_machine(
    device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": name or device.type,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{library: _version(library) for library in LIBRARIES},
        "dtype": str(dtype),
        "steps": options.steps,
        "repeats": options.repeats,
        "families": options.family,
    }


def release_memory(device: torch.device) -> None:
    """Return memory that nothing uses to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print each row as it comes, and write the JSON after each."""
    run(parse_arguments(arguments))


if __name__ == "__main__":
    main()
