"""Tokenizers of T5 and Qwen from each of their sources, and what is said without them."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.text import language_tokenizers
from latentloom.diffusion.text.language_tokenizers import T5_SPECIAL, load_language_tokenizer
from latentloom.diffusion.weights.gguf_file import read_gguf_values

WORDS = (
    "a", "red", "fox", "jumps", "over", "the", "blue", "river", "and", "quiet", "hill", "under",
    "seven", "bright", "lanterns",
)  # fmt: skip
PROMPTS = ("a red fox", "", "  seven   rivers ", "the </s> fox <pad> ends", "Ünïcode ﬁsh 3.14")


def train() -> bytes:
    """Return a small vocabulary with T5's special tokens."""
    sink = io.BytesIO()
    lines = [" ".join(WORDS[index:] + WORDS[:index]) for index in range(len(WORDS))] * 4
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=sink, vocab_size=70, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        num_threads=1,
    )  # fmt: skip
    return sink.getvalue()


@pytest.fixture(scope="module")
def vocabulary() -> bytes:
    return train()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no tokenizer but those below this folder."""
    monkeypatch.setattr(language_tokenizers, "list_roots", lambda: [tmp_path])
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    (tmp_path / "tokenizers" / "t5").mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "encoder.safetensors")
    return tmp_path


def encode_all(models: Path) -> list[list[int]]:
    tokenizer = load_language_tokenizer("t5xxl", models / "encoder.safetensors")
    assert tokenizer.special_tokens == T5_SPECIAL
    return [[*tokenizer.encode(prompt)] for prompt in PROMPTS]


def expected(vocabulary: bytes) -> list[list[int]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    ids = [processor.encode(prompt) for prompt in PROMPTS]
    parts = [processor.encode(part) for part in ("the", " fox ", " ends")]
    ids[3] = [*parts[0], 1, *parts[1], 0, *parts[2]]
    return ids


def test_t5s_vocabulary_in_a_folder_is_read(models: Path, vocabulary: bytes) -> None:
    (models / "tokenizers/t5/spiece.model").write_bytes(vocabulary)
    assert encode_all(models) == expected(vocabulary)


def test_a_vocabulary_in_the_text_file_is_read(models: Path, vocabulary: bytes) -> None:
    data = torch.tensor(list(vocabulary), dtype=torch.uint8)
    save_file({"spiece_model": data}, models / "encoder.safetensors")
    assert encode_all(models) == expected(vocabulary)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def write_gguf(vocabulary: bytes) -> bytes:
    """Return the metadata of a GGUF file with the words and scores of a vocabulary."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    count = processor.get_piece_size()
    words = [processor.id_to_piece(index) for index in range(count)]
    scores = [processor.get_score(index) for index in range(count)]
    return b"".join([
        b"GGUF", struct.pack("<IQQ", 3, 0, 4),
        text("tokenizer.ggml.model"), struct.pack("<I", 8), text("t5"),
        text("general.file_type"), struct.pack("<II", 4, 1),
        text("tokenizer.ggml.tokens"), struct.pack("<IIQ", 9, 8, count), *map(text, words),
        text("tokenizer.ggml.scores"), struct.pack("<IIQ", 9, 6, count),
        struct.pack(f"<{count}f", *scores),
    ])  # fmt: skip


def test_t5s_vocabulary_in_a_gguf_file_gives_the_same_tokens(
    models: Path, vocabulary: bytes
) -> None:
    (models / "text_encoders").mkdir()
    (models / "text_encoders/t5.gguf").write_bytes(write_gguf(vocabulary))
    got, want = encode_all(models), expected(vocabulary)
    # Without the file's own normalization, only plain characters are the same.
    assert got[:4] == want[:4]


def test_a_tokenizer_json_gives_the_same_tokens(models: Path, vocabulary: bytes) -> None:
    (models / "text_encoders").mkdir()
    (models / "text_encoders/t5.gguf").write_bytes(write_gguf(vocabulary))
    tokenizer = language_tokenizers._make_gguf_tokenizer(models / "text_encoders/t5.gguf")
    assert tokenizer is not None
    tokenizer.save(str(models / "tokenizers/t5/tokenizer.json"))
    assert encode_all(models)[:4] == expected(vocabulary)[:4]


def test_without_any_source_the_error_names_the_ways(models: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_language_tokenizer("t5xxl", models / "encoder.safetensors")
    for part in ("models/tokenizers/t5", "spiece.model", "GGUF", "LATENTLOOM_NETWORK=1"):
        assert part in str(caught.value)


def test_qwens_error_names_the_package(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_tokenizers, "find_spec", lambda _name: None)
    with pytest.raises(ModelFileError, match=r"pip install 'latentloom\[text\]'"):
        load_language_tokenizer("qwen3", models / "encoder.safetensors")


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.json"])
def test_a_damaged_vocabulary_is_an_error(models: Path, name: str) -> None:
    (models / "tokenizers/t5" / name).write_bytes(b"{}")
    with pytest.raises(ModelFileError, match=r"t5/"):
        load_language_tokenizer("t5xxl", models / "encoder.safetensors")


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_damaged_gguf_file_is_read_or_an_error(
    data: st.DataObject, vocabulary: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(write_gguf(vocabulary))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ModelFileError):
        assert all(isinstance(key, str) for key in read_gguf_values(path))


def test_any_string_has_qwens_tokens() -> None:
    tokenizer = language_tokenizers._load_qwen_package()
    assert tokenizer.encode("\ud800")
    assert [*tokenizer.encode("<think>")] == [151667]
    assert len(tokenizer.encode(" " * 65_536)) < 65_536
