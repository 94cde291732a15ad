"""Checkpoints in one file: hostile headers are refused, families are told from the keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from diffusion.detect import check_checkpoint
from diffusion.errors import ModelFileError
from diffusion.headers import TensorHead, read_heads
from diffusion.single_file import _vae_name, read_checkpoint, text_part

UNET = "model.diffusion_model."


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start: int, stop: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> Any:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, tmp_path / "f")
    assert read_heads(tmp_path / "f") == {
        "a": TensorHead("F32", (2, 3)),
        "b": TensorHead("F16", (4,)),
    }


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": entry(0, 4)}, b"", "cut short"),
        ({"a": entry(0, 4)}, b"12345", "cut short"),
        ({"a": entry(4, 8)}, b"12345678", "gaps"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"1234", "overlap"),
        ({"a": entry(-4, 0)}, b"", "is wrong"),
        ({"a": entry(0, 8)}, b"12345678", "is wrong"),
        ({"a": entry(0, 4, "F33")}, b"1234", "is wrong"),
        ({"a": entry(0, 4, "F32", (-1, -1))}, b"1234", "is wrong"),
        ({"a": entry(0, 4, "F32", (2**40, 2**40))}, b"1234", "is wrong"),
        ({"a": 5}, b"", "is wrong"),
        ([1], b"", "no object"),
        (b'{"a": {}, "a": {}}', b"", "given twice"),
        (b"PK\x03\x04", b"", "no safetensors"),
        (b"[" * 100_000, b"", "no safetensors"),
    ],
)
def test_a_hostile_header_is_refused(
    tmp_path: Path, header: Any, data: bytes, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_heads(write(tmp_path / "f.safetensors", header, data))


@pytest.mark.parametrize("length", [0, 2**63, 2**64 - 1, 10**6])
def test_a_header_longer_than_the_file_is_refused_unread(tmp_path: Path, length: int) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelFileError):
        read_heads(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_a_typed_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        with pytest.raises(ModelFileError):
            read_heads(path)


def test_a_pickle_named_safetensors_never_runs(tmp_path: Path) -> None:
    import os
    import pickle

    class Canary:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "canary"),)

    (tmp_path / "f.safetensors").write_bytes(pickle.dumps(Canary()))
    with pytest.raises(ModelFileError):
        check_checkpoint(tmp_path / "f.safetensors")
    assert not (tmp_path / "canary").exists()


def checkpoint(path: Path, width: int) -> Path:
    """Just enough keys to tell the parts and the family."""
    attention = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    text = "cond_stage_model.transformer.text_model."
    tensors = {
        attention: torch.zeros(8, width),
        "first_stage_model.quant_conv.weight": torch.zeros(8, 8, 1, 1),
        f"{text}embeddings.token_embedding.weight": torch.zeros(100, 128),
        f"{text}encoder.layers.0.mlp.fc1.weight": torch.zeros(256, 128),
        f"{text}embeddings.position_ids": torch.zeros(1, 77, dtype=torch.int64),
    }
    save_file(tensors, path)
    return path


def test_a_file_of_a_family_that_is_not_read_yet_says_which(tmp_path: Path) -> None:
    assert read_checkpoint(checkpoint(tmp_path / "a.safetensors", 768))
    with pytest.raises(ModelFileError, match="is of family sdxl"):
        read_checkpoint(checkpoint(tmp_path / "b.safetensors", 2048))


def test_a_file_without_a_text_encoder_says_so(tmp_path: Path) -> None:
    save_file({f"{UNET}out.2.weight": torch.zeros(1)}, tmp_path / "f.safetensors")
    with pytest.raises(ModelFileError, match="no autoencoder"):
        read_checkpoint(tmp_path / "f.safetensors")


def test_the_text_encoders_shape_is_read_from_its_keys(tmp_path: Path) -> None:
    part = text_part(read_checkpoint(checkpoint(tmp_path / "a.safetensors", 768)))
    assert part.config["vocab_size"] == 100
    assert part.config["hidden_size"] == 128
    assert part.config["intermediate_size"] == 256
    assert part.config["num_hidden_layers"] == 1
    assert not [name for name in part.names if "position_ids" in name]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder.down.1.block.0.nin_shortcut.weight",
         "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
        ("encoder.down.0.downsample.conv.bias", "encoder.down_blocks.0.downsamplers.0.conv.bias"),
        ("decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"),
        ("decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"),
        ("encoder.mid.block_2.norm1.weight", "encoder.mid_block.resnets.1.norm1.weight"),
        ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
        ("decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias"),
        ("encoder.norm_out.weight", "encoder.conv_norm_out.weight"),
        ("quant_conv.bias", "quant_conv.bias"),
    ],
)  # fmt: skip
def test_the_autoencoders_keys_are_renamed(theirs: str, ours: str) -> None:
    assert _vae_name(theirs, 4) == ours
