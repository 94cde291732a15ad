"""CLIP-L's tokenizer from what is installed, against the reference's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import OPEN_CLIP_PAD
from latentloom.diffusion.text import tokenizers
from latentloom.diffusion.text.prompt import tokenize
from latentloom.diffusion.text.tokenizers import load_clip_l_tokenizer, load_tokenizer
from tests.paths import ROOT

CASES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "goldens/direct/tokens.json").read_text()
)


def vectors(name: str) -> list[torch.Tensor] | None:
    """The embedding that the reference had: two vectors."""
    known = ("parity_emb", "parity_emb.safetensors")
    return [torch.zeros(768), torch.ones(768)] if name in known else None


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_prompts_become_the_references_tokens_and_weights(case: dict[str, Any]) -> None:
    tokenizer = load_clip_l_tokenizer()
    got = tokenize(case["prompt"], tokenizer.encode, tokenizer.marks, vectors)
    assert [
        ["EMB" if token.vector is not None else token.id for token in chunk] for chunk in got
    ] == [[id for id, _ in chunk] for chunk in case["sd1_l"]]
    for chunk, want in zip(got, case["sd1_l"], strict=True):
        assert [token.weight for token in chunk] == pytest.approx([weight for _, weight in want])


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_larger_encoder_fills_up_with_zeros(case: dict[str, Any]) -> None:
    tokenizer = load_clip_l_tokenizer()
    marks = tokenizer.marks._replace(pad=OPEN_CLIP_PAD)
    got = tokenize(case["prompt"], tokenizer.encode, marks, vectors)
    assert len(got) == case["sdxl_chunks"]
    assert got[-1][-1].id == case["sdxl_g_padding_token"]


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"lacks vocab\.json or merges\.txt"):
        load_tokenizer(tmp_path)


class Hub:
    """The hub as a folder: counts what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[tuple[str, str]]()

    def __call__(self, repository: str, name: str) -> str:
        self.asked.append((repository, name))
        if not (self.folder / name).is_file():
            raise FileNotFoundError(f"no {name} there")
        return str(self.folder / name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A machine without any tokenizer, and a hub that is not the real one."""
    made = Hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", made)
    monkeypatch.setattr(tokenizers, "list_roots", list[Path])
    monkeypatch.setattr(tokenizers, "_in_hub_cache", lambda: None)
    monkeypatch.setattr(tokenizers, "find_spec", lambda _name: None)
    return made


def write_vocabulary(folder: Path, first: int) -> None:
    """A vocabulary of two letters and the marks, the first mark at a number."""
    words = {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4}
    words |= {"<|startoftext|>": first, "<|endoftext|>": first + 1}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")


def test_the_net_is_not_asked_unless_the_user_allows_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, "0", ""):
        monkeypatch.delenv(tokenizers.NETWORK_VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, value)
        with pytest.raises(ModelFileError) as found:
            load_clip_l_tokenizer()
        ways = ("models/tokenizers/clip-l", "pip install", "LATENTLOOM_NETWORK=1")
        assert all(way in str(found.value) for way in ways)
    assert hub.asked == []


def test_with_leave_the_hub_is_asked_for_two_files_of_text(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    write_vocabulary(hub.folder, 49406)
    tokenizer = load_clip_l_tokenizer()
    assert hub.asked == [(tokenizers.CLIP_L_HUB, name) for name in ("vocab.json", "merges.txt")]
    assert tokenizer.marks == tokenizers.CLIP_L_MARKS
    assert list(tokenizer.encode("a b")) == [2, 3]


def test_what_is_not_clip_l_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    write_vocabulary(hub.folder, 6)
    with pytest.raises(ModelFileError, match="is not CLIP-L's tokenizer"):
        load_clip_l_tokenizer()


def test_a_hub_that_does_not_answer_is_a_typed_error(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tokenizers.NETWORK_VARIABLE, "1")
    with pytest.raises(ModelFileError, match=r"cannot be fetched from the hub: no vocab\.json"):
        load_clip_l_tokenizer()
