"""CLIP-L's tokenizer from what is installed, against the reference's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.errors import ModelFileError
from diffusion.load import OPEN_CLIP_PAD
from diffusion.prompt import tokenize
from diffusion.tokenizers import clip_l, from_folder

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "goldens/direct/tokens.json").read_text()
)


def vectors(name: str) -> list[torch.Tensor] | None:
    """The embedding that the reference had: two vectors."""
    known = ("parity_emb", "parity_emb.safetensors")
    return [torch.zeros(768), torch.ones(768)] if name in known else None


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_prompts_become_the_references_tokens_and_weights(case: dict[str, Any]) -> None:
    tokenizer = clip_l()
    got = tokenize(case["prompt"], tokenizer.encode, tokenizer.marks, vectors)
    assert [
        ["EMB" if token.vector is not None else token.id for token in chunk] for chunk in got
    ] == [[id for id, _ in chunk] for chunk in case["sd1_l"]]
    for chunk, want in zip(got, case["sd1_l"], strict=True):
        assert [token.weight for token in chunk] == pytest.approx([weight for _, weight in want])


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_larger_encoder_fills_up_with_zeros(case: dict[str, Any]) -> None:
    tokenizer = clip_l()
    marks = tokenizer.marks._replace(pad=OPEN_CLIP_PAD)
    got = tokenize(case["prompt"], tokenizer.encode, marks, vectors)
    assert len(got) == case["sdxl_chunks"]
    assert got[-1][-1].id == case["sdxl_g_padding_token"]


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"lacks vocab\.json or merges\.txt"):
        from_folder(tmp_path)
