"""Tokenizers for text encoders: text -> numbers, and the special marks.

A diffusers folder brings its own. For CLIP-L a folder under `models/tokenizers` comes first, then
what is on the machine: the hub's cache, or the package `instant-clip-tokenizer`. The net is asked
last, and only if the user allows it.
"""

from __future__ import annotations

import os
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
CLIP_L_MARKS = SpecialTokens(49406, 49407, 49407)
NETWORK_VARIABLE = "LATENTLOOM_NETWORK"


@dataclass(frozen=True)
class Tokenizer:
    """What text encoding needs: numbers of a text without marks, and the marks.

    Attributes:
        max_id: the largest token id that it returns.
    """

    encode: Callable[[str], Sequence[int]]
    marks: SpecialTokens
    max_id: int


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder in transformers' layout.

    Raises:
        ModelFileError: there is none that can be loaded.
    """
    # transformers makes an empty tokenizer where the files are missing, and says nothing.
    where = f"{folder.parent.name}/{folder.name}"
    if not all((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ModelFileError(f"{where} lacks {' or '.join(VOCABULARY_FILES)}")
    from transformers import CLIPTokenizer

    try:
        found: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises no narrower class
        raise ModelFileError(f"the tokenizer of {where} cannot be loaded: {error}") from error

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = found(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    # The library adds special tokens that the vocabulary lacks behind its end, or fails later.
    words: dict[str, int] = found.backend_tokenizer.get_vocab(with_added_tokens=False)
    specials = {found.bos_token, found.eos_token, found.pad_token, found.unk_token}
    if not specials <= words.keys():
        raise ModelFileError(f"the vocabulary of {where} lacks a special token")
    marks = SpecialTokens(found.bos_token_id, found.eos_token_id, found.pad_token_id)
    return Tokenizer(encode, marks, max(words.values()))


def load_clip_l_tokenizer() -> Tokenizer:
    """CLIP-L's tokenizer, from where it is first found.

    Raises:
        ModelFileError: it is nowhere; the message says how to get it. Or it was fetched, and is
            not CLIP-L's.
    """
    for root in list_roots():
        for name in CLIP_L_NAMES:
            folder = root / "tokenizers" / name
            if folder.is_dir():
                return load_tokenizer(folder)
    cached = _in_hub_cache()
    if cached is not None:
        return load_tokenizer(cached)
    if find_spec("instant_clip_tokenizer") is not None:
        return _instant()
    if os.environ.get(NETWORK_VARIABLE) == "1":
        return _from_hub()
    raise ModelFileError(
        "CLIP-L's tokenizer is not on this machine; put its vocab.json and merges.txt into "
        f"models/tokenizers/{CLIP_L_NAMES[0]}, or pip install instant-clip-tokenizer, "
        f"or allow that {CLIP_L_HUB} is fetched from the hub once: {NETWORK_VARIABLE}=1"
    )


def _in_hub_cache() -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(CLIP_L_HUB, name) for name in VOCABULARY_FILES]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None


def _from_hub() -> Tokenizer:
    """Two text files into the hub's cache, where they are found from then on."""
    from huggingface_hub import hf_hub_download

    try:
        found = [Path(hf_hub_download(CLIP_L_HUB, name)) for name in VOCABULARY_FILES]
    except (OSError, ValueError) as error:  # the library's own errors are among these
        raise ModelFileError(f"{CLIP_L_HUB} cannot be fetched from the hub: {error}") from error
    tokenizer = load_tokenizer(found[0].parent)
    if tokenizer.marks != CLIP_L_MARKS:
        raise ModelFileError(f"what the hub gave for {CLIP_L_HUB} is not CLIP-L's tokenizer")
    return tokenizer


def _instant() -> Tokenizer:
    import instant_clip_tokenizer

    found: Any = instant_clip_tokenizer.Tokenizer()

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = found.encode(text)
        return ids

    return Tokenizer(encode, CLIP_L_MARKS, CLIP_L_MARKS.end)
