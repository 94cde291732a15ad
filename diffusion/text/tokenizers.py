"""Tokenizers for text encoders: strings to token ids.

A diffusers folder has its own. For CLIP-L a folder in `models/tokenizers` comes first, then the
Hub's cache, then the package `instant-clip-tokenizer`. The Hub is asked last, and only if the
user allows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..weights.folders import list_roots
from ..weights.text_keys import VOCABULARY_FILES
from .prompt import SpecialTokens

CLIP_L_NAMES = ("clip-l", "clip_l", "clip-vit-large-patch14")
CLIP_L_HUB = "openai/clip-vit-large-patch14"
CLIP_L_SPECIAL_TOKENS = SpecialTokens(49406, 49407, 49407)
CLIP_L_WORDS = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
NETWORK_VARIABLE = "LATENTLOOM_NETWORK"


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer.

    Attributes:
        encode: string -> token ids without special tokens.
        max_id: the largest token id that it returns.
    """

    encode: Callable[[str], Sequence[int]]
    special_tokens: SpecialTokens
    max_id: int


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a folder in transformers' layout.

    Raises:
        ModelFileError: there is none that can be loaded.
    """
    # transformers silently makes an empty tokenizer if the files are missing.
    label = f"{folder.parent.name}/{folder.name}"
    if not all((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ModelFileError(f"{label} lacks {' or '.join(VOCABULARY_FILES)}")
    from transformers import CLIPTokenizer

    try:
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises no narrower class
        raise ModelFileError(f"the tokenizer of {label} cannot be loaded: {error}") from error

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    # The library appends special tokens that the vocabulary lacks, or fails later.
    vocabulary: dict[str, int] = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    names = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    if not names <= vocabulary.keys():
        raise ModelFileError(f"the vocabulary of {label} lacks a special token")
    special_tokens = SpecialTokens(
        tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    )
    return Tokenizer(encode, special_tokens, max(vocabulary.values()))


def load_clip_l_tokenizer() -> Tokenizer:
    """Load CLIP-L's tokenizer from the first source that has it.

    Raises:
        ModelFileError: no source has it, or the Hub's is not CLIP-L's.
    """
    for root in list_roots():
        for name in CLIP_L_NAMES:
            folder = root / "tokenizers" / name
            if folder.is_dir():
                return load_tokenizer(folder)
    cached = _find_in_hub_cache()
    if cached is not None:
        return load_tokenizer(cached)
    if find_spec("instant_clip_tokenizer") is not None:
        return _load_instant()
    if os.environ.get(NETWORK_VARIABLE) == "1":
        return _download()
    raise ModelFileError(
        "CLIP-L's tokenizer is not on this machine; put its vocab.json and merges.txt into "
        f"models/tokenizers/{CLIP_L_NAMES[0]}, or pip install instant-clip-tokenizer, "
        f"or set {NETWORK_VARIABLE}=1 to allow the download of {CLIP_L_HUB} from the Hub"
    )


def _find_in_hub_cache() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    paths = [try_to_load_from_cache(CLIP_L_HUB, name) for name in VOCABULARY_FILES]
    return Path(paths[0]).parent if all(isinstance(path, str) for path in paths) else None


def _download() -> Tokenizer:
    """Download the two vocabulary files into the Hub's cache, which is searched from then on."""
    from huggingface_hub import hf_hub_download

    try:
        paths = [Path(hf_hub_download(CLIP_L_HUB, name)) for name in VOCABULARY_FILES]
    except (OSError, ValueError) as error:  # the library's own errors are among these
        raise ModelFileError(f"{CLIP_L_HUB} cannot be downloaded from the Hub: {error}") from error
    tokenizer = load_tokenizer(paths[0].parent)
    if tokenizer.special_tokens != CLIP_L_SPECIAL_TOKENS:
        raise ModelFileError(f"the download of {CLIP_L_HUB} is not CLIP-L's tokenizer")
    return tokenizer


def _load_instant() -> Tokenizer:
    import instant_clip_tokenizer

    tokenizer: Any = instant_clip_tokenizer.Tokenizer()
    split = re.compile(f"({'|'.join(map(re.escape, CLIP_L_WORDS))})")

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = []
        for part in split.split(text):  # the library takes special tokens for plain words
            ids += [CLIP_L_WORDS[part]] if part in CLIP_L_WORDS else tokenizer.encode(part)
        return ids

    return Tokenizer(encode, CLIP_L_SPECIAL_TOKENS, CLIP_L_SPECIAL_TOKENS.end)
