"""Measure loading a single-file checkpoint and its first use: `python -m bench.loading FILE`.

Two processes, each with its own peak of memory: one maps the file and copies each tensor to
float32; the other loads it, encodes two prompts and an image, takes two steps with guidance and
decodes. Processor time is given too, since wall time depends on the disk and on other processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
SIDE, STEPS, CFG, SEED = 256, 2, 5.0, 1


def measure(name: str, work: Callable[[], T]) -> T:
    """Print the times and the peak memory of some work, and return its result."""
    clock, used = time.perf_counter(), time.process_time()
    result = work()
    cpu_s, wall_s = time.process_time() - used, time.perf_counter() - clock
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:32} {cpu_s:8.2f} {wall_s:8.2f} {peak_mb:9.0f}", flush=True)
    return result


def copy(path: Path) -> None:
    """Copy every tensor of the mapped file to float32: the least that loading can cost."""
    from safetensors import safe_open

    def copy_tensors() -> list[Any]:
        with safe_open(path, framework="pt") as file:
            return [file.get_tensor(name).float() for name in file.keys()]  # noqa: SIM118

    measure("map, copy to float32", copy_tensors)


def use(path: Path) -> None:
    """Load a checkpoint and use each of its parts."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401 - before the clock
    from transformers import CLIPTextModel  # noqa: F401 - before the clock

    from latentloom.diffusion.conditioning.text import encode_text
    from latentloom.diffusion.networks.load import load_checkpoint
    from latentloom.diffusion.networks.vae import decode, encode
    from latentloom.diffusion.sampling.sample import SamplePlan, sample
    from latentloom.diffusion.weights.digest import content_digest

    plan = SamplePlan(SEED, STEPS, CFG, "euler", "normal", 0.5)
    measure("hash", lambda: content_digest(path))
    model = measure("load", lambda: load_checkpoint(path))
    prompts = measure("encode 2 prompts", lambda: [encode_text(model.clip, text) for text in "ab"])
    source = measure(f"encode {SIDE} px", lambda: encode(model.vae, torch.rand(1, SIDE, SIDE, 3)))
    latent = measure(
        f"{STEPS} steps with CFG", lambda: sample(model.model, source, prompts[0], prompts[1], plan)
    )
    measure(f"decode {SIDE} px", lambda: decode(model.vae, latent))


def main() -> None:
    """Print a table of both processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    print(f"{path.name}, {path.stat().st_size / 1e9:.2f} GB")
    print(f"{'':32} {'cpu s':>8} {'wall s':>8} {'peak MB':>9}")
    context = multiprocessing.get_context("spawn")
    for work in (copy, use):
        process = context.Process(target=work, args=(path,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
