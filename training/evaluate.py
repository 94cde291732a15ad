"""Measures an exported model against its bars, with diffusers' own pipelines as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from rich.console import Console
from rich.table import Table

from training.autoencoder import psnr
from training.oracle import Task, Verdict, judge, make_tasks
from training.pool import held_out
from training.render import render, to_array

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

STEPS, GUIDANCE, PROMPTS = 20, 4.0, 40
LADDER = (0.2, 0.4, 0.6, 0.8)
BATCH = 20


@dataclass(frozen=True)
class Figure:
    """One measured value; `floor` is the least that will do, None if it is only told."""

    name: str
    value: float
    floor: float | None = None
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the value is good enough."""
        return self.floor is None or self.value >= self.floor


def load_pipeline(folder: Path) -> Any:
    """The model as diffusers' text-to-image pipeline, float32, DPM++ 2M Karras, no bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, local_files_only=True, low_cpu_mem_usage=False
    ).to(torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: Any, prompts: Sequence[str], seed: int = 0) -> list[Image.Image]:
    """One picture for each prompt, in batches, from fixed seeds."""
    pictures: list[Image.Image] = []
    for first in range(0, len(prompts), BATCH):
        result = pipeline(
            list(prompts[first : first + BATCH]),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed + first),
        )
        pictures += result.images
    return pictures


def change(
    pipeline: Any,
    prompts: Sequence[str],
    sources: Sequence[Image.Image],
    strength: float,
    seed: int,
) -> list[Image.Image]:
    """Image to image: each source with its prompt."""
    editor = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    result = editor(
        list(prompts),
        image=list(sources),
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
    )
    pictures: list[Image.Image] = result.images
    return pictures


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two pictures, 0..255."""
    difference = to_array(one).astype(float) - to_array(other).astype(float)
    return float(np.sqrt((difference**2).mean()))


def score(verdicts: Sequence[Verdict], tasks: Sequence[Task]) -> tuple[float, float, float]:
    """Shares of the pictures with the right object colour, ground and shape."""
    rows = [
        (
            verdict.colour == task.scene.things[0].colour,
            verdict.ground == task.scene.colour,
            verdict.shape == task.scene.things[0].shape,
        )
        for verdict, task in zip(verdicts, tasks, strict=True)
    ]
    colour, ground, shape = np.mean(rows, axis=0).tolist()
    return colour, ground, shape


def measure_oracle(count: int = 400) -> list[Figure]:
    """The oracle on true renders."""
    tasks = make_tasks(count, seed=11)
    shares = score([judge(render(task.scene)) for task in tasks], tasks)
    names = ("colour", "ground", "shape")
    return [
        Figure(f"oracle on true renders, {name}", 100 * share, 99, "%")
        for name, share in zip(names, shares, strict=True)
    ]


def measure_prompts(pipeline: Any) -> list[Figure]:
    """Whether the prompted colours, ground and shape appear."""
    tasks = make_tasks(PROMPTS)
    verdicts = [judge(picture) for picture in generate(pipeline, [t.prompt for t in tasks])]
    colour, ground, shape = score(verdicts, tasks)
    return [
        Figure("prompted object colour", 100 * colour, 90, "%"),
        Figure("prompted background", 100 * ground, 90, "%"),
        Figure("prompted shape", 100 * shape, None, "%"),
        Figure("overlap with the ideal shape", float(np.mean([v.overlap for v in verdicts]))),
    ]


def measure_autoencoder(pipeline: Any) -> list[Figure]:
    """How well pictures survive the autoencoder."""
    scenes, textures = torch.split(held_out(96, 32), [96, 32])
    return [
        Figure("autoencoder, held-out scenes", psnr(pipeline.vae, scenes), 26, "dB"),
        Figure("autoencoder, held-out textures", psnr(pipeline.vae, textures), None, "dB"),
    ]


def measure_ladder(pipeline: Any, sources: int = 8, seeds: int = 2) -> list[Figure]:
    """How far image to image goes from its source, and that more strength goes further."""
    pictures = [render(task.scene) for task in make_tasks(sources, seed=23)]
    prompts = [task.prompt for task in make_tasks(sources, seed=29)]
    means = [
        float(np.mean([
            distance(source, result)
            for seed in range(seeds)
            for source, result in zip(
                pictures, change(pipeline, prompts, pictures, strength, seed), strict=True
            )
        ]))
        for strength in LADDER
    ]  # fmt: skip
    figures = [
        Figure(f"distance at denoise {strength}", mean)
        for strength, mean in zip(LADDER, means, strict=True)
    ]
    return [*figures, Figure("smallest rise of the ladder", float(np.diff(means).min()), 1)]


def evaluate(folder: Path) -> bool:
    """Print every figure of the model in a folder; whether all bars are reached."""
    pipeline = load_pipeline(folder)
    figures = [
        *measure_oracle(),
        *measure_autoencoder(pipeline),
        *measure_prompts(pipeline),
        *measure_ladder(pipeline),
    ]
    table = Table("figure", "measured", "at least", "")
    for figure in figures:
        floor = "" if figure.floor is None else f"{figure.floor:g} {figure.unit}"
        mark = "" if figure.floor is None else ("ok" if figure.reached else "MISSED")
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", floor, mark)
    Console().print(table)
    return all(figure.reached for figure in figures)
