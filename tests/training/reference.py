"""The exported model through diffusers' own pipelines, apart from this project's runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

SETTINGS: dict[str, Any] = {"num_inference_steps": 20, "guidance_scale": 4.0}


def load_pipeline(folder: Path) -> Any:
    """Text to image, float32, DPM++ 2M Karras."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, local_files_only=True, low_cpu_mem_usage=False
    ).to(torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: Any, prompts: Sequence[str]) -> list[Image.Image]:
    """One picture for each prompt, in one batch."""
    generator = torch.Generator().manual_seed(0)
    pictures: list[Image.Image] = pipeline(list(prompts), generator=generator, **SETTINGS).images
    return pictures


def change(
    pipeline: Any, prompts: Sequence[str], sources: Sequence[Image.Image], strength: float
) -> list[Image.Image]:
    """Each source towards its prompt, in one batch."""
    editor = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    pictures: list[Image.Image] = editor(
        list(prompts),
        image=list(sources),
        strength=strength,
        generator=torch.Generator().manual_seed(0),
        **SETTINGS,
    ).images
    return pictures
