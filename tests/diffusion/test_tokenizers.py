"""CLIP-L's tokenizer from what is installed, against the reference's prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffusion.errors import ModelFileError, PromptError
from diffusion.prompt import tokenize
from diffusion.tokenizers import clip_l, from_folder

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "goldens/direct/tokens.json").read_text()
)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_prompts_become_the_references_tokens_and_weights(case: dict[str, Any]) -> None:
    tokenizer = clip_l()
    prompt = case["prompt"]
    names_embedding = any(f"{before}embedding:" in f" {prompt}" for before in (" ", "\n", "("))
    if names_embedding:
        with pytest.raises(PromptError, match="not supported yet"):
            tokenize(prompt, tokenizer.encode, tokenizer.marks)
        return
    got = tokenize(prompt, tokenizer.encode, tokenizer.marks)
    assert [[token.id for token in chunk] for chunk in got] == [
        [id for id, _ in chunk] for chunk in case["sd1_l"]
    ]
    for chunk, want in zip(got, case["sd1_l"], strict=True):
        assert [token.weight for token in chunk] == pytest.approx([weight for _, weight in want])


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"lacks vocab\.json or merges\.txt"):
        from_folder(tmp_path)
