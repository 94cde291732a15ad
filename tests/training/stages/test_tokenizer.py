"""The tokenizer is CLIP's kind, loads with transformers, and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import CLIPTokenizer

from training.stages.denoiser import SHORT
from training.stages.tokenizer import make_tokenizer
from training.world.captions import caption
from training.world.scenes import sample_scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(path, scenes=400)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize(
    "text", ["a big red house on a white background", "héllo, 12 wörlds!", "日本", "a  b"]
)
def test_texts_come_back_from_their_tokens(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text).input_ids

    words = tokenizer.decode(tokens, skip_special_tokens=True).split()
    assert "".join(words) == "".join(text.split())


def test_words_of_the_captions_are_one_token_each(tokenizer: Any) -> None:
    text = "a big purple triangle on the left and a green tree, watercolor style"

    assert len(tokenizer.tokenize(text)) == 14


def test_captions_fit_the_short_length_that_training_uses(tokenizer: Any) -> None:
    texts = [caption(sample_scene(seed), 0) for seed in range(300)]

    assert max(len(tokens) for tokens in tokenizer(texts).input_ids) <= SHORT


def test_texts_are_padded_to_77_with_the_end_mark(tokenizer: Any) -> None:
    tokens = tokenizer("a star", padding="max_length").input_ids

    assert len(tokens) == 77
    assert tokens[0] == tokenizer.bos_token_id == len(tokenizer) - 2
    assert set(tokens[3:]) == {tokenizer.eos_token_id} == {len(tokenizer) - 1}


def test_the_same_captions_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    make_tokenizer(tmp_path, scenes=400)

    names = sorted(path.name for path in folder.iterdir())
    assert [(tmp_path / name).read_bytes() for name in names] == [
        (folder / name).read_bytes() for name in names
    ]
