"""Measures an exported model against its bars: prompts, autoencoder, image to image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from rich.console import Console
from rich.table import Table

from training.autoencoder import psnr
from training.oracle import Task, Verdict, judge, make_tasks
from training.pool import held_out
from training.render import render, to_array
from training.studio import Studio, draw_all, open_studio

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

PROMPTS = 40
LADDER = (0.2, 0.4, 0.6, 0.8)


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


def measure_prompts(studio: Studio) -> list[Figure]:
    """Whether the prompted colours, ground and shape appear."""
    tasks = make_tasks(PROMPTS)
    verdicts = [judge(picture) for picture in draw_all(studio, [t.prompt for t in tasks])]
    colour, ground, shape = score(verdicts, tasks)
    return [
        Figure("prompted object colour", 100 * colour, 90, "%"),
        Figure("prompted background", 100 * ground, 90, "%"),
        Figure("prompted shape", 100 * shape, None, "%"),
        Figure("overlap with the ideal shape", float(np.mean([v.overlap for v in verdicts]))),
    ]


def measure_autoencoder(folder: Path) -> list[Figure]:
    """How well pictures survive the autoencoder."""
    vae = AutoencoderKL.from_pretrained(
        folder / "vae", local_files_only=True, low_cpu_mem_usage=False
    )
    scenes, textures = torch.split(held_out(96, 32), [96, 32])
    return [
        Figure("autoencoder, held-out scenes", psnr(vae, scenes), 26, "dB"),
        Figure("autoencoder, held-out textures", psnr(vae, textures), None, "dB"),
    ]


def measure_ladder(studio: Studio, sources: int = 8, seeds: int = 2) -> list[Figure]:
    """How far image to image goes from its source, and that more strength goes further."""
    pictures = [render(task.scene) for task in make_tasks(sources, seed=23)]
    prompts = [task.prompt for task in make_tasks(sources, seed=29)]
    means = [
        float(
            np.mean(
                [
                    distance(source, studio.change(source, prompt, denoise, seed))
                    for seed in range(seeds)
                    for source, prompt in zip(pictures, prompts, strict=True)
                ]
            )
        )
        for denoise in LADDER
    ]
    figures = [
        Figure(f"distance at denoise {denoise}", mean)
        for denoise, mean in zip(LADDER, means, strict=True)
    ]
    return [*figures, Figure("smallest rise of the ladder", float(np.diff(means).min()), 1)]


def evaluate(folder: Path) -> bool:
    """Print every figure of the model in a folder; whether all bars are reached."""
    studio = open_studio(folder)
    figures = [
        *measure_oracle(),
        *measure_autoencoder(folder),
        *measure_prompts(studio),
        *measure_ladder(studio),
    ]
    table = Table("figure", "measured", "at least", "")
    for figure in figures:
        floor = "" if figure.floor is None else f"{figure.floor:g} {figure.unit}"
        mark = "" if figure.floor is None else ("ok" if figure.reached else "MISSED")
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", floor, mark)
    Console().print(table)
    return all(figure.reached for figure in figures)
