"""A byte-pair tokenizer in CLIP's format, learned from the captions.

transformers.CLIPTokenizer loads the folder it writes. The vocabulary starts with all bytes,
so any text can be encoded; words of the captions are one token each.
"""

from __future__ import annotations

import json
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from training.world.captions import caption
from training.world.changes import change
from training.world.crew import Table
from training.world.scenes import TRAINING_SEEDS, sample_scene

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
# CLIP's own split of a text into words, digits and runs of other signs.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Words that no caption of this model holds yet, but that its relatives (a style adapter,
# other prompts) will want as one token each.
EXTRA_WORDS = (
    "sepia", "pixel", "art", "photo", "picture", "drawing", "sketch", "grey", "gray", "brown",
    "light", "dark", "the", "of", "and", "in", "under", "over", "above", "below", "two", "three",
)  # fmt: skip


def learn_merges(texts: Iterable[str], size: int = 1200) -> list[tuple[str, str]]:
    """The byte-pair merges of the texts, most useful first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase(),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(first, second) for first, second in merges]


def build_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Token to number, in CLIP's order: bytes, bytes that end a word, merges, the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(sign + "</w>" for sign in alphabet)]
    tokens += ["".join(pair) for pair in merges]
    return {token: number for number, token in enumerate(dict.fromkeys([*tokens, START, END]))}


def save_tokenizer(merges: list[tuple[str, str]], folder: Path) -> None:
    """Write vocab.json, merges.txt and the two settings files of CLIPTokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        **marks,
    }
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    files = {
        "vocab.json": json.dumps(build_vocabulary(merges), ensure_ascii=False),
        "merges.txt": "\n".join(lines),
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
        "special_tokens_map.json": json.dumps(marks, indent=2) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def make_tokenizer(folder: Path, scenes: int = 4000) -> None:
    """Learn the tokenizer from captions of the first training scenes and write it."""
    texts = [caption(sample_scene(seed), variant) for seed in range(scenes) for variant in (0, 1)]
    save_tokenizer(learn_merges([*texts, *EXTRA_WORDS * 20]), folder)


def encode_tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """N×77 token numbers."""
    batch = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(batch.input_ids, dtype=torch.int16)


@cache
def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a folder."""
    from transformers import CLIPTokenizer  # slow: only the workers that need it wait for it

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def captions_table(folder: Path, count: int, captions: int) -> Table:
    """So many captions of each of the first scenes, as token numbers: N×captions×77."""
    job = partial(encode_captions, folder / "tokenizer", captions)
    path = folder / f"tokens-{count}-{captions}.npy"
    return Table(path, job, count, (captions, LENGTH), "int16")


def asked_table(folder: Path, count: int) -> Table:
    """The captions of the first scenes after a change: N×77."""
    job = partial(encode_asked, folder / "tokenizer")
    return Table(folder / f"tokens-views-{count}.npy", job, count, (LENGTH,), "int16")


def encode_captions(tokenizer: Path, captions: int, first: int, last: int) -> NDArray[np.int16]:
    """The captions of scenes of consecutive seeds."""
    scenes = [sample_scene(TRAINING_SEEDS.start + index) for index in range(first, last)]
    texts = [caption(scene, variant) for scene in scenes for variant in range(captions)]
    tokens: NDArray[np.int16] = encode_tokens(load_tokenizer(tokenizer), texts).numpy()
    return tokens.reshape(len(scenes), captions, LENGTH)


def encode_asked(tokenizer: Path, first: int, last: int) -> NDArray[np.int16]:
    """What the captions of scenes of consecutive seeds say after a change."""
    seeds = range(TRAINING_SEEDS.start + first, TRAINING_SEEDS.start + last)
    texts = [change(seed).text for seed in seeds]
    tokens: NDArray[np.int16] = encode_tokens(load_tokenizer(tokenizer), texts).numpy()
    return tokens
