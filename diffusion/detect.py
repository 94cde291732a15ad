"""What a model holds, from its configuration files or header alone. No torch here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import ModelFileError
from .families import Family, Prediction, family_for
from .single_file import file_family, read_checkpoint

PARTS = ("unet", "vae", "text_encoder")
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
MOST_CONFIG_BYTES = 2**20


def check_checkpoint(path: Path) -> None:
    """Whether a folder or a file has all that a checkpoint needs, in a form that is safe.

    Raises:
        ModelFileError: a part is missing, or its weights are not safetensors.
    """
    if path.is_file():
        read_checkpoint(path)
        return
    for part in PARTS:
        read_config(path / part / "config.json")
        check_weights(path / part, WEIGHTS[part])
    if not (path / "tokenizer").is_dir():
        raise ModelFileError(f"{path.name} has no tokenizer folder")


def check_vae(path: Path) -> None:
    """Whether an autoencoder's folder can be loaded.

    Raises:
        ModelFileError: a file is missing, or its weights are not safetensors.
    """
    read_config(path / "config.json")
    check_weights(path, WEIGHTS["vae"])


def check_weights(folder: Path, name: str) -> None:
    """Whether a part's weights are there as safetensors with a sound header.

    Raises:
        ModelFileError: they are not.
    """
    file = folder / name
    if not file.is_file():
        others = sorted(found.name for found in folder.glob("*.bin"))
        why = f"only {others[0]}, which may run code when loaded" if others else "no weights"
        raise ModelFileError(f"{folder.parent.name}/{folder.name} wants {name}, has {why}")
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        start = stream.read(1)
    if size < 9 or length > size - 8 or start != b"{":
        raise ModelFileError(
            f"{folder.parent.name}/{folder.name}/{name} is no whole safetensors file"
        )


def checkpoint_family(path: Path) -> Family:
    """The family of a checkpoint, in a diffusers folder or in one file.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or the file is no checkpoint.
    """
    if path.is_file():
        return file_family(path)
    unet = read_config(path / "unet" / "config.json")
    vae = read_config(path / "vae" / "config.json")
    scheduler = path / "scheduler" / "scheduler_config.json"
    noise = read_config(scheduler) if scheduler.is_file() else {}
    factor = 2 ** (len(vae.get("block_out_channels", [0] * 4)) - 1)
    family = family_for(int(unet["cross_attention_dim"]))
    return replace(
        family,
        latent_channels=int(vae.get("latent_channels", 4)),
        latent_scale=float(vae.get("scaling_factor", family.latent_scale)),
        prediction=PREDICTIONS.get(str(noise.get("prediction_type", "epsilon")), "eps"),
        native_size=int(unet.get("sample_size") or family.native_size // factor) * factor,
        vae_factor=factor,
    )


def vae_family(path: Path) -> Family:
    """The family of an autoencoder's folder: its checkpoint's where it is part of one."""
    if (path.parent / "unet" / "config.json").is_file():
        return checkpoint_family(path.parent)
    config = read_config(path / "config.json")
    scale = float(config.get("scaling_factor", 0.18215))
    return family_for(2048 if abs(scale - 0.13025) < 1e-4 else 768)


def read_config(path: Path) -> dict[str, Any]:
    """A configuration file.

    Raises:
        ModelFileError: it is missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise ModelFileError(f"{path.parent.name}/{path.name} is too large for a configuration")
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"{path.parent.name}/{path.name} holds no JSON object")
    return found
