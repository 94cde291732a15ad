"""Writes the trained networks in the diffusers layout, in half precision, with digests."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDIMScheduler

from training.denoiser import NOISE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUMS = "SHA256SUMS"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def export_model(modules: Mapping[str, Any], tokenizer: Path, output: Path) -> None:
    """Write `vae`, `unet` and `text_encoder`, the tokenizer, the scheduler and the index."""
    output.mkdir(parents=True, exist_ok=True)
    for name, module in modules.items():
        module.half().to(memory_format=torch.contiguous_format)
        module.save_pretrained(output / name)
        _forget_origin(output / name / "config.json")
    shutil.copytree(tokenizer, output / "tokenizer", dirs_exist_ok=True)
    scheduler = DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.save_pretrained(output / "scheduler")
    (output / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    for path in list_files(output):
        path.chmod(0o644)
    write_sums(output)


def list_files(folder: Path) -> list[Path]:
    """The model's own files, in a stable order; what only tells about it is not among them."""
    return [folder / "model_index.json", *sorted(p for p in folder.glob("*/*") if p.is_file())]


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of every file, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in list_files(folder)
    ]
    (folder / SUMS).write_text("".join(lines))


def _forget_origin(config: Path) -> None:
    """Drop the path that a network was loaded from; it means nothing elsewhere."""
    settings = json.loads(config.read_text())
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
