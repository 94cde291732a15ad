"""A broken model folder is a typed error of `check`, `plan` and `run`: node, input, reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from tests.cli.commands import as_json, run
from tests.tiny_model import write_tiny_model

GRAPH = """\
latentloom: 1
nodes:
  model: {node: CheckpointLoaderSimple, ckpt_name: broken}
  vae: {node: VAELoader, vae_name: broken}
  latent: {node: EmptyLatentImage, model: $model.MODEL}
  decode: {node: VAEDecode, samples: $latent.LATENT, vae: $vae.VAE}
  save: {node: SaveImage, images: $decode.IMAGE}
"""
UNET, VAE, TEXT, NOISE = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
# file, key, value that it is given, what the message says
WRONG_VALUES: list[tuple[str, str, Any, str]] = [
    (UNET, "cross_attention_dim", None, "cross_attention_dim: expected a whole number"),
    (UNET, "cross_attention_dim", "32", "got '32'"),
    (UNET, "cross_attention_dim", True, "got True"),
    (UNET, "cross_attention_dim", [32], "got [32]"),
    (UNET, "cross_attention_dim", -1, "got -1"),
    (UNET, "cross_attention_dim", 2**70, "from 1 to 65536"),
    (UNET, "sample_size", 0, "sample_size: expected"),
    (UNET, "sample_size", [], "one or two sides"),
    (UNET, "sample_size", [8, "8"], "got '8'"),
    (UNET, "in_channels", 5, "in_channels: expected"),
    (UNET, "_class_name", "FluxTransformer2DModel", "expected UNet2DConditionModel"),
    (UNET, "encoder_hid_dim", 4, "encoder_hid_dim: expected null"),
    (VAE, "latent_channels", 0, "latent_channels: expected"),
    (VAE, "latent_channels", 4.0, "got 4.0"),
    (VAE, "scaling_factor", "big", "scaling_factor: expected a number"),
    (VAE, "scaling_factor", -0.2, "above 0"),
    (VAE, "scaling_factor", float("nan"), "above 0"),
    (VAE, "scaling_factor", float("inf"), "above 0"),
    (VAE, "block_out_channels", 4, "a list of 1 to 8 items"),
    (VAE, "block_out_channels", [8] * 70, "a list of 1 to 8 items"),
    (VAE, "_class_name", "AutoencoderTiny", "expected AutoencoderKL"),
    (TEXT, "hidden_size", 64, "hidden_size: expected 32"),
    (TEXT, "max_position_embeddings", 16, "at least 77"),
    (TEXT, "architectures", ["T5EncoderModel"], "architectures: expected CLIPTextModel"),
    (NOISE, "prediction_type", "flow", "prediction_type: expected epsilon or"),
    (NOISE, "prediction_type", ["epsilon"], "prediction_type: expected"),
    (NOISE, "beta_schedule", "cosine", "beta_schedule: expected scaled_linear"),
    (NOISE, "beta_start", 2, "beta_end: expected"),
    (NOISE, "num_train_timesteps", True, "num_train_timesteps: expected 1000"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("sound") / "tiny")


@pytest.fixture
def broken(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder to break, and beside it `graph.yaml`, which names it twice."""
    (tmp_path / "graph.yaml").write_text(GRAPH)
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    return shutil.copytree(sound, tmp_path / "broken")


def refusals(capsys: pytest.CaptureFixture[str], model: Path) -> list[str]:
    """Return the message of `check` by node; `plan` and `run` must give the same."""
    graph = model.parent / "graph.yaml"
    code, result = as_json(capsys, "check", graph)
    assert (code, result["status"]) == (1, "failed")
    for command in ("plan", "run"):
        code, out, err = run(capsys, command, graph, "--output", model.parent / "out")
        assert (code, out) == (1, "")
        assert err.strip()
        assert "Traceback" not in err
    inputs = {"model": "ckpt_name", "vae": "vae_name"}
    assert all(inputs[error["node"]] == error["input"] for error in result["errors"])
    return [error["message"] for error in result["errors"]]


def test_the_sound_folder_has_no_problems(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", broken.parent / "graph.yaml")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(("file", "key", "value", "says"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_its_name(
    broken: Path, capsys: pytest.CaptureFixture[str], file: str, key: str, value: Any, says: str
) -> None:
    config = broken / file
    config.write_text(json.dumps({**json.loads(config.read_text()), key: value}))
    messages = refusals(capsys, broken)
    assert messages
    assert all(file in message for message in messages)
    assert says in messages[0]


@pytest.mark.parametrize("file", [UNET, VAE, TEXT, NOISE])
@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * 2**20 + b"}"]
)
def test_a_file_that_is_no_configuration_is_refused(
    broken: Path, capsys: pytest.CaptureFixture[str], file: str, data: bytes
) -> None:
    (broken / file).write_bytes(data)
    assert file in refusals(capsys, broken)[0]


@pytest.mark.parametrize("file", [UNET, VAE, TEXT, "tokenizer/vocab.json"])
def test_a_missing_file_is_refused(
    broken: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    (broken / file).unlink()
    if file == VAE:  # without it there is no autoencoder of that name either
        assert run(capsys, "check", broken.parent / "graph.yaml")[0] == 1
        return
    assert file.split("/")[0] in refusals(capsys, broken)[0]


def test_a_folder_in_the_place_of_a_configuration_is_refused(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken / UNET).unlink()
    (broken / UNET).mkdir()
    assert UNET in refusals(capsys, broken)[0]
