"""CLIP-L's tokenizer as installed, on the reference's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load_text import OPEN_CLIP_PAD
from latentloom.diffusion.text import tokenizers
from latentloom.diffusion.text.prompt import tokenize
from latentloom.diffusion.text.tokenizers import load_clip_l_tokenizer, load_tokenizer
from tests.paths import ROOT

CASES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "goldens/direct/tokens.json").read_text()
)


def vectors(name: str) -> list[torch.Tensor] | None:
    """Return the two vectors of the embedding that the reference had."""
    names = ("parity_emb", "parity_emb.safetensors")
    return [torch.zeros(768), torch.ones(768)] if name in names else None


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_prompts_become_the_references_tokens_and_weights(case: dict[str, Any]) -> None:
    tokenizer = load_clip_l_tokenizer()
    got = tokenize(case["prompt"], tokenizer.encode, tokenizer.special_tokens, vectors)
    assert [
        ["EMB" if token.vector is not None else token.id for token in chunk] for chunk in got
    ] == [[id for id, _ in chunk] for chunk in case["sd1_l"]]
    for chunk, expected in zip(got, case["sd1_l"], strict=True):
        assert [token.weight for token in chunk] == pytest.approx(
            [weight for _, weight in expected]
        )


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_larger_encoder_fills_up_with_zeros(case: dict[str, Any]) -> None:
    tokenizer = load_clip_l_tokenizer()
    special_tokens = tokenizer.special_tokens._replace(pad=OPEN_CLIP_PAD)
    got = tokenize(case["prompt"], tokenizer.encode, special_tokens, vectors)
    assert len(got) == case["sdxl_chunks"]
    assert got[-1][-1].id == case["sdxl_g_padding_token"]


def test_a_folder_without_a_vocabulary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"lacks vocab\.json or merges\.txt"):
        load_tokenizer(tmp_path)


class FakeHub:
    """A fake of the Hub that serves a folder and records its requests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests = folder, list[tuple[str, str]]()

    def __call__(self, repository: str, name: str) -> str:
        self.requests.append((repository, name))
        if not (self.folder / name).is_file():
            raise FileNotFoundError(f"no {name} there")
        return str(self.folder / name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A machine without any tokenizer, and a fake Hub."""
    fake = FakeHub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake)
    monkeypatch.setattr(tokenizers, "list_roots", list[Path])
    monkeypatch.setattr(tokenizers, "_find_in_hub_cache", lambda: None)
    monkeypatch.setattr(tokenizers, "find_spec", lambda _name: None)
    return fake


def write_vocabulary(folder: Path, first: int) -> None:
    """Write a vocabulary of two letters and two special tokens, whose ids begin at `first`."""
    words = {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4}
    words |= {"<|startoftext|>": first, "<|endoftext|>": first + 1}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")


def test_the_hub_is_not_asked_unless_the_user_allows_it(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, "0", ""):
        monkeypatch.delenv(tokenizers.NETWORK_VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, value)
        with pytest.raises(ModelFileError) as error:
            load_clip_l_tokenizer()
        remedies = ("models/tokenizers/clip-l", "pip install", "LATENTLOOM_NETWORK=1")
        assert all(remedy in str(error.value) for remedy in remedies)
    assert hub.requests == []


def test_if_allowed_the_hub_is_asked_for_two_files(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    write_vocabulary(hub.folder, 49406)
    tokenizer = load_clip_l_tokenizer()
    assert hub.requests == [(tokenizers.CLIP_L_HUB, name) for name in ("vocab.json", "merges.txt")]
    assert tokenizer.special_tokens == tokenizers.CLIP_L_SPECIAL_TOKENS
    assert list(tokenizer.encode("a b")) == [2, 3]


def test_a_tokenizer_other_than_clip_l_is_an_error(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    write_vocabulary(hub.folder, 6)
    with pytest.raises(ModelFileError, match="is not CLIP-L's tokenizer"):
        load_clip_l_tokenizer()


def test_a_failed_download_is_a_model_file_error(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    with pytest.raises(ModelFileError, match=r"cannot be downloaded from the Hub: no vocab\.json"):
        load_clip_l_tokenizer()
