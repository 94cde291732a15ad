"""Makes the demo model from nothing: `python -m training --output models`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

import diffusers
import torch
import transformers

from training.presets import PRESETS, Preset
from training.workshop import STAGES, TRAINED, Workshop
from training.world.crew import Crew


def main(arguments: list[str] | None = None) -> int:
    """Run all stages, or one; 1 if the model misses a bar."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    _quiet()
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
    name = options.preset or ("large" if options.device == "cuda" else "full")
    preset = dataclasses.replace(PRESETS[name], device=options.device, copies=options.copies)
    preset = _with_steps(preset, dict(options.steps))
    if options.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    crew = Crew(options.workers or len(os.sched_getaffinity(0)))
    workshop = Workshop(preset, options.run, options.output, options.resume, deadline, crew)
    if options.finish:
        print(f"{options.finish} ends at step {workshop.finish(options.finish)}")
        return 0
    return workshop.run_only(options.only) if options.only else workshop.run_all()


def _quiet() -> None:
    """Keep the libraries' own bars and hints out of the progress of the stages."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _with_steps(preset: Preset, changes: dict[str, int]) -> Preset:
    plans = {
        name: dataclasses.replace(getattr(preset, name), steps=steps)
        for name, steps in changes.items()
    }
    return dataclasses.replace(preset, **plans)


def _stage_steps(text: str) -> tuple[str, int]:
    name, _, steps = text.partition("=")
    if name not in TRAINED or not steps.isdecimal():
        raise argparse.ArgumentTypeError(f"wants STAGE=STEPS such as denoiser=5000, got {text}")
    return name, int(steps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("models"), help="the models folder")
    parser.add_argument("--run", type=Path, default=Path("training/run"), help="checkpoints")
    parser.add_argument("--preset", choices=PRESETS, help="full, on cuda large, if not said")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", choices=STAGES, help="one stage; earlier ones must be there")
    parser.add_argument("--steps", action="append", default=[], type=_stage_steps)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints")
    parser.add_argument("--finish", choices=TRAINED, help="let a stage under way end early")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, help="processes that draw; a core each if not said")
    parser.add_argument("--minutes", type=float, help="train all stages within this time")
    parser.add_argument("--copies", type=Path, help="a folder for copies of finished stages")
    return parser


if __name__ == "__main__":
    sys.exit(main())
