"""A configuration or a header costs no more than its weights justify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.weights import safetensors_file
from latentloom.diffusion.weights.config_file import ConfigFile
from latentloom.diffusion.weights.detect import check_checkpoint
from latentloom.diffusion.weights.headers import read_metadata, read_tensor_infos
from latentloom.diffusion.weights.safetensors_file import MAX_HEADER_KEYS
from tests.paths import ROOT


def write(path: Path, header: bytes) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_encoder", "num_hidden_layers", 10**7),
        ("unet", "layers_per_block", 10**7),
        ("unet", "layers_per_block", [1, 1, 10**7]),
        ("unet", "transformer_layers_per_block", [[1, 10**7]]),
        ("unet", "block_out_channels", [32] * 10_000),
        ("vae", "layers_per_block", 10**7),
        ("vae", "block_out_channels", [32] * 10_000),
    ],
)
def test_a_model_of_more_layers_than_tensors_is_refused_by_its_check(
    part: str, key: str, value: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "models" / "demo", copy)
    file = copy / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), key: value}), "utf-8")
    with pytest.raises(ModelFileError, match=key):
        check_checkpoint(copy)


def test_counts_in_nested_configurations_are_checked_and_other_numbers_are_not() -> None:
    ConfigFile("config.json", {"vocab_size": 10**6, "use_layers": True}).check_layers(3)
    nested = ConfigFile("config.json", {"backbone_config": {"num_hidden_layers": 10**6}})
    with pytest.raises(ModelFileError, match="num_hidden_layers: expected at most 64"):
        nested.check_layers(3)


def test_a_header_of_too_many_keys_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b"{" + b'"a":0,' * MAX_HEADER_KEYS + b'"b":0}'
    path = write(tmp_path / "many.safetensors", header)
    monkeypatch.setattr(json, "loads", lambda *_args, **_options: pytest.fail("it was parsed"))
    with pytest.raises(ModelFileError, match=f"more than {MAX_HEADER_KEYS} keys"):
        read_tensor_infos(path)


def test_colons_in_metadata_are_no_keys(tmp_path: Path) -> None:
    text = r"\"" + ":" * (MAX_HEADER_KEYS + 1)
    header = json.dumps({"__metadata__": {"text": text}}).encode()
    assert read_metadata(write(tmp_path / "text.safetensors", header)) == {"text": text}


def test_a_header_is_parsed_once_while_its_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    read_header = safetensors_file._read_header

    def counted(path: Path, size: int) -> bytes:
        calls.append(path)
        return read_header(path, size)

    monkeypatch.setattr(safetensors_file, "_read_header", counted)
    path = write(tmp_path / "a.safetensors", b'{"__metadata__":{"a":"1"}}')
    assert [read_metadata(path), read_metadata(path)] == [{"a": "1"}] * 2
    assert len(calls) == 1
    write(path, b'{"__metadata__":{"a":"2"}}')
    assert read_metadata(path) == {"a": "2"}
