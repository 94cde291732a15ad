"""Writes the trained networks in the diffusers layout, in half precision, with digests."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDIMScheduler
from safetensors.torch import save_file

from training.stages.schedule import NOISE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.stages.adapter import Adapter

MODEL = "demo"
CONTROLNET = "controlnet/demo-canny"
LORA = "loras/demo-duotone.safetensors"
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


def export_model(modules: Mapping[str, Any], tokenizer: Path, models: Path) -> None:
    """Write `vae`, `unet` and `text_encoder`, the tokenizer, the scheduler and the index.

    They go to `demo` in the models folder, and the digests of all that ships with them too.
    """
    output = models / MODEL
    output.mkdir(parents=True, exist_ok=True)
    for name, module in modules.items():
        _save(module, output / name)
    shutil.copytree(tokenizer, output / "tokenizer", dirs_exist_ok=True)
    scheduler = DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.save_pretrained(output / "scheduler")
    (output / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    for path in list_files(models):
        path.chmod(0o644)
    write_sums(models)


def export_controlnet(net: Any, models: Path) -> None:
    """Write a ControlNet in the diffusers layout."""
    _save(net, models / CONTROLNET)


def export_adapter(adapter: Adapter, models: Path) -> None:
    """Write a LoRA as one file with kohya's keys."""
    path = models / LORA
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry only: the format does not keep the order of several, and digests would differ.
    save_file(adapter.kohya(), path, {"ss_network_module": "networks.lora"})


def list_files(models: Path) -> list[Path]:
    """The files of the networks that are shipped, in a stable order."""
    folders = (f"{MODEL}/*/*", f"{CONTROLNET}/*")
    result = [path for pattern in folders for path in models.glob(pattern) if path.is_file()]
    return [models / MODEL / "model_index.json", *sorted(result), models / LORA]


def write_sums(models: Path) -> None:
    """Write the SHA-256 of every file, in the format of sha256sum, as seen from the folder."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(models).as_posix()}\n"
        for path in list_files(models)
    ]
    (models / SUMS).write_text("".join(lines))


def _save(module: Any, folder: Path) -> None:
    """Save a network in half precision, without the path that it was loaded from."""
    module.cpu().half().to(memory_format=torch.contiguous_format)
    module.save_pretrained(folder)
    config = folder / "config.json"
    settings = json.loads(config.read_text())
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
