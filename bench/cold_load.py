"""Load a single-file checkpoint in a fresh process and make an image; times of the stages.

`measure_cold_load` writes the file and starts the processes; `python -m bench.cold_load FILE` is
one of them. Libraries are imported and the device is started before the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.networks import Modules, synchronize

CASES = {
    "fast, file hashed": "auto",
    "fast, digest stored": "auto",
    "plain, digest stored": "off",
}
SETTLED_S, TIMEOUT_S = 11, 300
CFG, SEED = 7.0, 1
SPECIAL_TOKENS = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}


def measure_cold_load(
    name: str, modules: Modules, side: int, steps: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Write a checkpoint; yield the case and the seconds of the stages of processes that load it.

    Raises:
        RuntimeError: a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = write_checkpoint(name, modules, Path(folder))
        write_tokenizer(Path(folder) / "models" / "tokenizers" / "clip-l")
        time.sleep(SETTLED_S)  # the digest of a file that changed just now is not stored
        environment = {
            **os.environ,
            "LATENTLOOM_CACHE": str(Path(folder) / "cache"),
            "LATENTLOOM_MODELS": str(Path(folder) / "models"),
        }
        for case, fast in CASES.items():
            command = [sys.executable, "-m", "bench.cold_load", str(path)]
            process = subprocess.run(
                [*command, "--side", str(side), "--steps", str(steps)],
                env=environment | {"LATENTLOOM_FAST": fast},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            if process.returncode:
                raise RuntimeError((process.stderr.strip().splitlines() or ["no message"])[-1])
            yield case, json.loads(process.stdout.splitlines()[-1])


def write_checkpoint(name: str, modules: Modules, folder: Path) -> Path:
    """Write networks and random text encoders of their family as one file of float16."""
    from safetensors.torch import save_file

    from tests.original_keys import open_clip_keys, text_keys, unet_keys, vae_keys

    device = next(modules.unet.parameters()).device
    tensors = {**unet_keys(modules.unet), **vae_keys(modules.vae)}
    first = _text_encoder(device, 768, 12, has_projection=False)
    if name == "sdxl":
        tensors |= text_keys(first, "conditioner.embedders.0.transformer.text_model.")
        second = _text_encoder(device, 1280, 32, has_projection=True)
        tensors |= open_clip_keys(second, "conditioner.embedders.1.model.")
    else:
        tensors |= text_keys(first)
    path = folder / "model.safetensors"
    save_file({key: _stored(value) for key, value in tensors.items()}, path)
    return path


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single letters, with CLIP's special tokens."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {name: index for index, name in enumerate(names)} | SPECIAL_TOKENS
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def _text_encoder(
    device: torch.device, width: int, layers: int, *, has_projection: bool
) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
    )
    kind: Any = CLIPTextModelWithProjection if has_projection else CLIPTextModel
    with device:
        module: nn.Module = kind(config)
    return module.half()


def _stored(value: Tensor) -> Tensor:
    value = value.half() if value.is_floating_point() else value
    return value.detach().cpu().contiguous()


def load_and_make_image(path: Path, side: int, steps: int) -> dict[str, float]:
    """Return the seconds of the stages until the first image, and of a second image."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401 - before the clock
    from transformers import CLIPTextModelWithProjection  # noqa: F401 - before the clock

    from latentloom.diffusion.conditioning.text import encode_text
    from latentloom.diffusion.latents.latents import Latent
    from latentloom.diffusion.networks import devices
    from latentloom.diffusion.networks.load import load_checkpoint
    from latentloom.diffusion.networks.vae import decode
    from latentloom.diffusion.sampling.sample import SamplePlan, sample
    from latentloom.diffusion.weights.digest import content_digest
    from latentloom.nodes.ports import stored_digests

    device = devices.device()
    torch.zeros(1, device=device).add_(1)
    synchronize(device)
    plan = SamplePlan(SEED, steps, CFG, "euler", "normal")
    latent = Latent(torch.zeros(1, 4, side // 8, side // 8))
    clock = [time.perf_counter()]

    def lap() -> float:
        synchronize(device)
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    content_digest(path, stored_digests())
    stages = {"digest": lap()}
    model = load_checkpoint(path)
    stages["load"] = lap()
    prompts = [encode_text(model.clip, text) for text in ("red fox", "blue")]
    stages["2 prompts"] = lap()
    sampled = sample(model.model, latent, prompts[0], prompts[1], plan)
    stages["sampling"] = lap()
    decode(model.vae, sampled)
    stages["decode"] = lap()
    stages["first image"] = clock[-1] - clock[0]
    decode(model.vae, sample(model.model, latent, prompts[0], prompts[1], plan))
    stages["second image"] = lap()
    return stages


def main() -> None:
    """Print the stages as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_load", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    print(json.dumps(load_and_make_image(options.file, options.side, options.steps)))


if __name__ == "__main__":
    main()
