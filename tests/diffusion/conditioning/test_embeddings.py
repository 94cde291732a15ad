"""Embeddings in prompts: found by name, inserted for words, left out if they do not fit."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.conditioning.embeddings import read_vectors
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.text.prompt import find_embedding_names, split_embeddings
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from tests.tiny_model import write_tiny_sdxl


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "embeddings" / "sub").mkdir(parents=True)
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    return tmp_path / "embeddings"


def words(model: Checkpoint, text: str) -> Tensor:
    """The word vectors of a prompt's tokens."""
    part = model.clip.weights.encoders[0]
    table: Any = part.module.get_input_embeddings()  # type: ignore[operator]
    vectors: Tensor = table.weight[torch.tensor(part.tokenizer.encode(text))]
    return vectors.detach().clone()


def tokens(model: Checkpoint, text: str) -> Tensor:
    return encode_text(model.clip, text)[0].tokens


@pytest.mark.parametrize("name", ["fox", "fox.safetensors", "sub/deep", "fox,"])
def test_an_embedding_of_words_is_the_words(tiny: Checkpoint, root: Path, name: str) -> None:
    for file in ("fox", "sub/deep"):
        save_file({"emb_params": words(tiny, "fox")}, root / f"{file}.safetensors")
    tail = "," if name.endswith(",") else ""
    got = tokens(tiny, f"a embedding:{name} b")
    assert torch.allclose(got, tokens(tiny, f"a fox{tail} b"), atol=1e-6)


def test_an_embedding_is_weighed(tiny: Checkpoint, root: Path) -> None:
    save_file({"emb_params": words(tiny, "fox")}, root / "fox.safetensors")
    got, want = tokens(tiny, "(embedding:fox:1.4) b"), tokens(tiny, "(fox:1.4) b")
    assert torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("extension", [".pt", ".bin"])
def test_an_older_file_is_read_without_running_it(
    tiny: Checkpoint, root: Path, extension: str
) -> None:
    params = {"string_to_param": {"*": words(tiny, "fox")}, "name": "fox"}
    torch.save(params, root / f"fox{extension}")
    assert torch.allclose(tokens(tiny, "embedding:fox"), tokens(tiny, "fox"), atol=1e-6)


def test_a_pickle_that_would_run_code_is_left_out(
    tiny: Checkpoint, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Canary:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(root / "canary"),)

    (root / "bad.pt").write_bytes(pickle.dumps({"*": Canary()}))
    with caplog.at_level(logging.WARNING):
        got = tokens(tiny, "a embedding:bad")
    assert torch.equal(got, tokens(tiny, "a"))
    assert "asks to call posix.mkdir" in caplog.text
    assert not (root / "canary").exists()


@pytest.mark.parametrize("name", ["missing", "../secret", "/etc/passwd", "wide", "broken"])
def test_what_does_not_fit_is_left_out_with_a_warning(
    tiny: Checkpoint, root: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    save_file({"emb_params": torch.zeros(2, 999)}, root / "wide.safetensors")
    save_file({"emb_params": words(tiny, "fox")}, root.parent / "secret.safetensors")
    (root / "broken.safetensors").write_bytes(b"PK\x03\x04")
    with caplog.at_level(logging.WARNING):
        got = tokens(tiny, f"a embedding:{name} b")
    assert torch.allclose(got, tokens(tiny, "a b"), atol=1e-6)
    assert caplog.text


def test_a_file_has_vectors_for_each_of_two_encoders(root: Path, tmp_path: Path) -> None:
    model = load_checkpoint(write_tiny_sdxl(tmp_path / "sdxl"))
    first, second = torch.full((1, 32), 0.2), torch.full((1, 64), 0.3)
    save_file({"clip_l": first, "clip_g": second}, root / "both.safetensors")
    got, plain = tokens(model, "embedding:both"), tokens(model, "")
    assert not torch.allclose(got[..., :32], plain[..., :32], atol=1e-3)
    assert not torch.allclose(got[..., 32:], plain[..., 32:], atol=1e-3)


@pytest.mark.parametrize("tensors", [{}, {"a": torch.zeros(0, 4)}, {"a": torch.zeros(1, 2, 3, 4)}])
def test_a_file_without_vectors_is_rejected(root: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, root / "empty.safetensors")
    with pytest.raises(ModelFileError, match="expected the vectors"):
        read_vectors(root / "empty.safetensors", "l")


def test_names_are_found_with_and_without_their_commas() -> None:
    assert find_embedding_names("a, embedding:one, (embedding:two:1.3) xembedding:no") == {
        "one", "one,", "two",
    }  # fmt: skip
    assert split_embeddings("plain") == [("", "plain")]
