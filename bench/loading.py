"""`python -m bench.loading FILE`: what loading and first using a checkpoint in one file costs.

Each in a process of its own, so that the peaks of memory are its own too: mapping the file and
copying each tensor to float32, against loading it, encoding two prompts and an image, two steps
with guidance, decoding. Processor time, since the clock also tells of the disk and of others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE, STEPS, CFG, SEED = 256, 2, 5.0, 1


class Laps:
    """Prints a row for each thing that is done."""

    def __init__(self) -> None:
        self.clock, self.used = time.perf_counter(), time.process_time()

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        self.clock, self.used = time.perf_counter(), time.process_time()
        found = work()
        taken = (time.process_time() - self.used, time.perf_counter() - self.clock)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:32} {taken[0]:8.2f} {taken[1]:8.2f} {peak:9.0f}", flush=True)
        return found


def copy(path: Path) -> None:
    """The floor: every tensor of the mapped file, once, as float32."""
    from safetensors import safe_open

    def each() -> list[Any]:
        with safe_open(path, framework="pt") as file:
            return [file.get_tensor(name).float() for name in file.keys()]  # noqa: SIM118

    Laps()("map, copy to float32", each)


def use(path: Path) -> None:
    """Loading, and everything that is done with a checkpoint once."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401 - before the clock
    from transformers import CLIPTextModel  # noqa: F401 - before the clock

    from latentloom.diffusion.conditioning.text import encode_text
    from latentloom.diffusion.networks.load import load_checkpoint
    from latentloom.diffusion.networks.vae import decode, encode
    from latentloom.diffusion.sampling.sample import SamplePlan, sample
    from latentloom.diffusion.weights.digest import content_digest

    lap, plan = Laps(), SamplePlan(SEED, STEPS, CFG, "euler", "normal", 0.5)
    lap("hash", lambda: content_digest(path))
    model = lap("load", lambda: load_checkpoint(path))
    prompts = lap("encode 2 prompts", lambda: [encode_text(model.clip, text) for text in "ab"])
    source = lap(f"encode {SIDE} px", lambda: encode(model.vae, torch.rand(1, SIDE, SIDE, 3)))
    done = lap(
        f"{STEPS} steps with CFG", lambda: sample(model.model, source, prompts[0], prompts[1], plan)
    )
    lap(f"decode {SIDE} px", lambda: decode(model.vae, done))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    print(f"{path.name}, {path.stat().st_size / 1e9:.2f} GB")
    print(f"{'':32} {'cpu s':>8} {'clock s':>8} {'peak MB':>9}")
    fresh = multiprocessing.get_context("spawn")
    for work in (copy, use):
        process = fresh.Process(target=work, args=(path,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
