"""Latent files: round trips, and rejection of other files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import latentloom
from latentloom.diffusion.latents.latents import Latent
from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.node.context import Context
from latentloom.nodes.latent_file import LoadLatent, SaveLatent

SAMPLES = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(5))


def save(latent: Latent, folder: Path, prefix: str = "latents/kept") -> Path:
    context = Context(output_dir=folder, metadata=lambda: {"prompt": '{"1": {}}'})
    (path,) = SaveLatent.run(latent, context, prefix).paths
    return path


def test_a_latent_survives_a_round_trip(tmp_path: Path) -> None:
    mask = torch.zeros(2, 64, 96)
    path = save(Latent(SAMPLES, mask, (3, 3), "sdxl"), tmp_path)
    got = LoadLatent.run(path)
    assert path == tmp_path / "latents/kept_00001_.latent"
    assert torch.equal(got.samples, SAMPLES)
    assert got.noise_mask is not None
    assert torch.equal(got.noise_mask, mask)
    assert (got.batch_index, got.family) == ((3, 3), "sdxl")
    assert LoadLatent.family(path) == "sdxl"


def test_comfyui_can_read_the_file(tmp_path: Path) -> None:
    path = save(Latent(SAMPLES), tmp_path)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"latent_tensor", "latent_format_version_0"}
        assert torch.equal(file.get_tensor("latent_tensor"), SAMPLES)
        assert file.metadata()["prompt"] == '{"1": {}}'


def test_files_without_a_version_are_rescaled(tmp_path: Path) -> None:
    save_file({"latent_tensor": SAMPLES * 0.18215}, tmp_path / "old.latent")
    got = LoadLatent.run(tmp_path / "old.latent")
    assert torch.allclose(got.samples, SAMPLES, rtol=1e-6)
    assert got.family is None


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    assert [save(Latent(SAMPLES), tmp_path, "a").name for _ in range(2)] == [
        "a_00001_.latent",
        "a_00002_.latent",
    ]


@pytest.mark.parametrize("prefix", ["../out", "/out", "a/../../b", ""])
def test_a_prefix_that_leaves_the_folder_is_rejected_before_the_run(prefix: str) -> None:
    with pytest.raises(InputError, match=r"filename_prefix"):
        SaveLatent.check(prefix)


BAD = {
    "another name": {"samples": SAMPLES},
    "three dimensions": {"latent_tensor": SAMPLES[0]},
    "no rows": {"latent_tensor": SAMPLES[:, :, :0].contiguous()},
    "whole numbers": {"latent_tensor": SAMPLES.long()},
}


@pytest.mark.parametrize("tensors", BAD.values(), ids=BAD)
def test_a_file_without_latents_is_rejected_before_the_run(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    save_file(tensors, tmp_path / "bad.latent")
    with pytest.raises(InputError, match=r"bad\.latent holds no latents"):
        LoadLatent.check(tmp_path / "bad.latent")


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_other_file_formats_are_rejected(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.latent").write_bytes(data)
    with pytest.raises(InputError, match=r"latent"):
        LoadLatent.check(tmp_path / "bad.latent")


def test_nan_and_infinity_are_rejected(tmp_path: Path) -> None:
    path = save(Latent(SAMPLES / 0), tmp_path)
    with pytest.raises(InputError, match="holds NaN or infinity"):
        LoadLatent.run(path)


def test_a_graph_continues_from_a_file(tmp_path: Path) -> None:
    save(Latent(SAMPLES, family="sd15"), tmp_path / "output", "half")
    builder = latentloom.build()
    loaded = builder.LoadLatent(latent="half_00001_.latent [output]")
    builder.LatentFlip(samples=loaded, flip_method="x-axis: vertically", id="flipped")
    workspace = Workspace(output_dir=tmp_path / "output")
    with Engine(latentloom.registry()) as engine:
        result = engine.run(builder.graph, workspace, targets=["flipped"])
    assert torch.equal(result["flipped"].samples, SAMPLES.flip(2))
