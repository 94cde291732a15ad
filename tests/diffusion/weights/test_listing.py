"""Installed models are described from their headers alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.weights.listing import describe_model
from tests.original_keys import open_clip_keys, text_keys, unet_keys, vae_keys
from tests.tiny_model import write_tiny_control, write_tiny_model, write_tiny_sdxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


@pytest.fixture(scope="module")
def model(folder: Path) -> Checkpoint:
    return load_checkpoint(folder)


def write(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> Path:
    save_file({name: value.to(dtype).contiguous() for name, value in tensors.items()}, path)
    return path


def files_of(model: Checkpoint) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a file of every kind."""
    first, second = (part.module for part in model.clip.weights.encoders)
    unet, vae = model.model.weights.module, model.vae.weights.module
    clip_l = text_keys(first, "conditioner.embedders.0.transformer.text_model.")
    clip_g = open_clip_keys(second, "conditioner.embedders.1.model.")
    lora = {
        "lora_unet_conv_in.lora_up.weight": torch.zeros(4, 2, 1, 1),
        "lora_unet_conv_in.lora_down.weight": torch.zeros(2, 4, 3, 3),
    }
    return {
        "checkpoint": unet_keys(unet) | vae_keys(vae) | clip_l | clip_g,
        "network": unet_keys(unet, ""),
        "autoencoder": vae_keys(vae, ""),
        "text encoder": text_keys(first, "text_model."),
        "lora": lora,
        "embedding": {"emb_params": torch.zeros(2, 768)},
        "unknown": {"a": torch.zeros(1)},
    }


@pytest.mark.parametrize(
    ("holds", "family"),
    [
        ("checkpoint", "sd-96"), ("network", "sd-96"), ("autoencoder", ""),
        ("text encoder", "sd-32"), ("lora", ""), ("embedding", "sd15"), ("unknown", ""),
    ],
)  # fmt: skip
def test_a_file_is_described_by_its_keys(
    model: Checkpoint, tmp_path: Path, holds: str, family: str
) -> None:
    path = write(tmp_path / "any-name.safetensors", files_of(model)[holds])
    description = describe_model(path)
    assert (description.holds, description.family) == (holds, family)
    assert (description.precision, description.size) == ("fp32", path.stat().st_size)


def test_folders_are_described_by_their_configurations(folder: Path, tmp_path: Path) -> None:
    checkpoint = describe_model(folder)
    assert (checkpoint.holds, checkpoint.family) == ("checkpoint", "sd-96")
    assert describe_model(folder / "vae").holds == "autoencoder"
    control = describe_model(write_tiny_control(tmp_path / "control"))
    assert (control.holds, control.family) == ("controlnet", "sd-32")


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float16, "fp16"), (torch.bfloat16, "bf16"), (torch.float8_e4m3fn, "fp8")],
)
def test_the_precision_is_that_of_most_bytes(
    tmp_path: Path, dtype: torch.dtype, precision: str
) -> None:
    pure = {"a": torch.zeros(1000, dtype=dtype), "b": torch.zeros(1)}
    save_file(pure, tmp_path / "pure")
    assert describe_model(tmp_path / "pure").precision == precision
    mixed = {"a": torch.zeros(1000, dtype=dtype), "b": torch.zeros(100)}
    save_file(mixed, tmp_path / "mixed")
    assert describe_model(tmp_path / "mixed").precision.endswith("+")


def test_the_hash_is_that_of_the_header(model: Checkpoint, tmp_path: Path) -> None:
    tensors = files_of(model)["lora"]
    files = (
        write(tmp_path / "a", tensors),
        write(tmp_path / "b", tensors),
        write(tmp_path / "c", tensors, torch.float16),
    )
    first, same, half = (describe_model(file).hash for file in files)
    assert first == same != half


def test_the_family_of_an_embedding_is_detected(tmp_path: Path) -> None:
    pair = {"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)}
    sdxl = describe_model(write(tmp_path / "pair", pair))
    sd21 = describe_model(write(tmp_path / "sd21", {"emb_params": torch.zeros(1, 1024)}))
    other = describe_model(write(tmp_path / "other", {"emb_params": torch.zeros(1, 32)}))
    assert [embedding.family for embedding in (sdxl, sd21, other)] == ["sdxl", "sd21", ""]


@pytest.mark.parametrize(
    "content",
    [
        {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(2, 768)}},
        {"<fox>": torch.zeros(768)},
    ],
)
def test_an_older_embedding_has_the_word_it_stands_for_as_key(
    tmp_path: Path, content: object
) -> None:
    torch.save(content, tmp_path / "old.pt")
    description = describe_model(tmp_path / "old.pt")
    assert (description.holds, description.family, description.precision) == (
        "embedding",
        "sd15",
        "fp32",
    )


def test_a_pickle_without_weights_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelFileError, match="neither of torch's two formats"):
        describe_model(tmp_path / "old.pt")


@pytest.mark.parametrize("holds", ["checkpoint", "network", "autoencoder", "text encoder", "lora"])
def test_a_file_in_torch_format_is_described_like_safetensors(
    model: Checkpoint, tmp_path: Path, holds: str
) -> None:
    tensors = {name: value.contiguous() for name, value in files_of(model)[holds].items()}
    safe = describe_model(write(tmp_path / "a.safetensors", tensors))
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.ckpt")
    old = describe_model(tmp_path / "a.ckpt")
    assert old == replace(safe, size=old.size, hash=old.hash)
    assert old.size == (tmp_path / "a.ckpt").stat().st_size


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelFileError):
        describe_model(tmp_path / "f.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="no weights"):
        describe_model(tmp_path / "empty")


def test_no_weights_are_read_and_no_torch_is_loaded(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    code = (
        "import sys; from pathlib import Path;"
        "from latentloom.diffusion.weights.listing import describe_model;"
        f"describe_model(Path({str(tmp_path / 'tiny')!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
