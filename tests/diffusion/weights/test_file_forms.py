"""Variants of checkpoint files: precisions, keys of training, and networks loaded separately."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import load_checkpoint, load_unet, load_vae
from latentloom.diffusion.networks.load_text import load_clip
from latentloom.diffusion.schedules.model_sampling import ContinuousSampling
from latentloom.diffusion.weights.detect import check_checkpoint
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from tests.diffusion.weights.test_single_file import write_file
from tests.tiny_model import write_tiny_sdxl

EMA = "model_ema.diffusion_model"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A models folder with a small SDXL in one file."""
    root = tmp_path_factory.mktemp("models")
    folder = write_tiny_sdxl(root / "folder")
    shutil.copytree(folder / "tokenizer", root / "tokenizers" / "clip-l")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODELS_VARIABLE, str(root))
        write_file(root / "checkpoints" / "file.safetensors", load_checkpoint(folder))
        yield root


def rewrite(root: Path, name: str, dtype: torch.dtype, **more: torch.Tensor) -> Path:
    """Write the checkpoint in another precision, with more tensors."""
    path = root / "checkpoints" / f"{name}.safetensors"
    tensors = load_file(root / "checkpoints" / "file.safetensors")
    save_file({key: value.to(dtype) for key, value in tensors.items()} | more, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_of_any_precision_is_computed_in_float32_on_the_cpu(
    root: Path, dtype: torch.dtype
) -> None:
    converted = load_checkpoint(rewrite(root, "converted", dtype))
    plain = load_checkpoint(root / "checkpoints" / "file.safetensors")
    for got, expected in zip(converted, plain, strict=True):
        values = got.weights.module.state_dict()
        for name, value in expected.weights.module.state_dict().items():
            if value.is_floating_point():
                assert values[name].dtype == torch.float32
                assert torch.equal(values[name], value.to(dtype).float())


def test_keys_of_training_are_ignored(root: Path) -> None:
    tensors = load_file(root / "checkpoints" / "file.safetensors")
    unet = [key for key in tensors if key.startswith("model.diffusion_model.")]
    averages = {
        EMA + key.removeprefix("model.diffusion_model").replace(".", ""): tensors[key] + 1
        for key in unet
    }
    of_training = {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7),
        "alphas_cumprod": torch.rand(1000),
        "first_stage_model.loss.logvar": torch.zeros(()),
    }
    path = rewrite(root, "full", torch.float32, **averages, **of_training)
    got = load_checkpoint(path)
    expected = load_checkpoint(root / "checkpoints" / "file.safetensors")
    assert got.model.family == expected.model.family
    values = got.model.weights.module.state_dict()
    for name, value in expected.model.weights.module.state_dict().items():
        assert torch.equal(values[name], value)


@pytest.mark.parametrize("lowest", [None, 0.01])
def test_a_file_can_declare_a_range_of_sigmas(root: Path, lowest: float | None) -> None:
    declared = {"edm_vpred.sigma_max": torch.tensor(120.0)}
    if lowest is not None:
        declared["edm_vpred.sigma_min"] = torch.tensor(lowest)
    path = rewrite(root, "sigmas", torch.float16, **declared)
    sampling = load_checkpoint(path).model.sampling
    assert isinstance(sampling, ContinuousSampling)
    assert (sampling.prediction, sampling.sigma_data) == ("v", 1.0)
    assert sampling.sigma_max == pytest.approx(120.0)
    assert sampling.sigma_min == pytest.approx(lowest or 0.002)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("edm_mean", torch.zeros(4), "models like Playground 2.5 are not supported"),
        ("edm_vpred.sigma_max", torch.zeros(()), "sigma_max is not a sigma"),
        ("edm_vpred.sigma_max", torch.ones(2), "sigma_max is not a sigma"),
    ],
)
def test_a_file_of_another_diffusion_process_is_an_error(
    root: Path, name: str, value: torch.Tensor, message: str
) -> None:
    path = rewrite(root, "other", torch.float16, **{name: value})
    with pytest.raises(ModelFileError, match=message):
        check_checkpoint(path)


def test_networks_loaded_separately_are_those_of_the_checkpoint(root: Path) -> None:
    path = root / "checkpoints" / "file.safetensors"
    checkpoint = load_checkpoint(path)
    assert load_checkpoint(path).model.weights is checkpoint.model.weights
    assert load_unet(path).weights is checkpoint.model.weights
    assert load_vae(path).weights is checkpoint.vae.weights
    assert load_clip((path,)).weights is checkpoint.clip.weights
    assert load_unet(path, "fp8_e4m3fn").weights is not checkpoint.model.weights


def test_copies_of_a_file_are_loaded_once(root: Path) -> None:
    path = root / "checkpoints" / "file.safetensors"
    copy = shutil.copy(path, root / "checkpoints" / "copy.safetensors")
    first, second = load_checkpoint(path), load_checkpoint(Path(copy))
    assert first.model.weights is second.model.weights
    assert first.vae.weights is second.vae.weights


@pytest.mark.parametrize("extension", ["safetensors", "ckpt"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        ("<!DOCTYPE html><title>Log in</title>", "a web page"),
        ("\ufeff\n<html lang=en>", "a web page"),
        ('{"error": "Invalid credentials"}', "JSON, such as an error message of a site"),
        ('<?xml version="1.0"?>\n<Error><Code>AccessDenied', "an error message of a site"),
        ("Rar!\x1a", "an archive"),
    ],
)
def test_texts_in_place_of_weights_are_named(
    extension: str, text: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / f"model.{extension}"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError, match=rf"model\.{extension} is {problem}, not the weights"):
        check_checkpoint(file)


def test_a_damaged_file_whose_length_looks_like_json_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b'{"'.ljust(8, b"\0") + b"{}" * 10)
    with pytest.raises(ModelFileError, match="incomplete"):
        check_checkpoint(file)
