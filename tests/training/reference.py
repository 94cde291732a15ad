"""The exported models through diffusers' own pipelines, apart from this project's runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from PIL import Image

from training.export import CONTROLNET, MODEL
from training.world.scenes import SIZE

SETTINGS: dict[str, Any] = {"num_inference_steps": 20, "guidance_scale": 4.0}


@dataclass(frozen=True)
class Reference:
    """diffusers' pipelines on the same networks; every call has the same seed."""

    pipeline: Any
    controlnet: Any

    def generate(self, prompts: Sequence[str]) -> list[Image.Image]:
        """One image for each prompt, in one batch."""
        return self._run(self.pipeline, prompts)

    def change(
        self, prompts: Sequence[str], sources: Sequence[Image.Image], strength: float
    ) -> list[Image.Image]:
        """Each source towards its prompt, in one batch."""
        editor = StableDiffusionImg2ImgPipeline(**self._parts())
        return self._run(editor, prompts, image=list(sources), strength=strength)

    def inpaint(self, prompt: str, source: Image.Image, gap: NDArray[np.uint8]) -> Image.Image:
        """The source with what is under the hole painted anew."""
        painter = StableDiffusionInpaintPipeline(**self._parts())
        mask = Image.fromarray(gap)
        return self._run(
            painter, [prompt], image=source, mask_image=mask, strength=1.0, height=SIZE, width=SIZE
        )[0]

    def trace(
        self, prompts: Sequence[str], edges: Sequence[NDArray[np.bool_]]
    ) -> list[Image.Image]:
        """Each prompt along its edges, in one batch."""
        tracer = StableDiffusionControlNetPipeline(**self._parts(), controlnet=self.controlnet)
        hints = [Image.fromarray(result).convert("RGB") for result in edges]
        return self._run(tracer, prompts, image=hints)

    def _parts(self) -> dict[str, Any]:
        return {**self.pipeline.components, "requires_safety_checker": False}

    def _run(self, pipeline: Any, prompts: Sequence[str], **inputs: Any) -> list[Image.Image]:
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        images: list[Image.Image] = pipeline(
            list(prompts), generator=generator, **inputs, **SETTINGS
        ).images
        return images


def open_reference(models: Path) -> Reference:
    """The demo model and its ControlNet, float32, DPM++ 2M Karras."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        models / MODEL, local_files_only=True, low_cpu_mem_usage=False
    ).to(torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    controlnet = ControlNetModel.from_pretrained(
        models / CONTROLNET, local_files_only=True, low_cpu_mem_usage=False
    ).to(torch.float32)
    return Reference(pipeline, controlnet)
