"""Checkpoints in one file: hostile headers are errors, families are detected from the keys."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.tensor_info import TensorInfo
from latentloom.diffusion.latents.latents import make_empty
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.vae import decode
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.weights.detect import check_checkpoint, detect_checkpoint_family
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.diffusion.weights.headers import read_tensor_infos
from latentloom.diffusion.weights.single_file import read_contents
from latentloom.diffusion.weights.vae_keys import to_diffusers_key
from tests.original_keys import open_clip_keys, text_keys, unet_keys, vae_keys
from tests.tiny_model import write_tiny_sdxl
from tests.torch_files import Canary

UNET = "model.diffusion_model."


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def entry(start: int, stop: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> Any:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def test_a_valid_header_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, tmp_path / "f")
    assert read_tensor_infos(tmp_path / "f") == {
        "a": TensorInfo("F32", (2, 3)),
        "b": TensorInfo("F16", (4,)),
    }


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": entry(0, 4)}, b"", "cut short"),
        ({"a": entry(0, 4)}, b"12345", "data after its weights"),
        ({"a": entry(4, 8)}, b"12345678", "gaps"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"1234", "overlap"),
        ({"a": entry(-4, 0)}, b"", "is invalid"),
        ({"a": entry(0, 8)}, b"12345678", "is invalid"),
        ({"a": entry(0, 4, "F33")}, b"1234", "is invalid"),
        ({"a": entry(0, 4, "F32", (-1, -1))}, b"1234", "is invalid"),
        ({"a": entry(0, 4, "F32", (2**40, 2**40))}, b"1234", "is invalid"),
        ({"a": 5}, b"", "is invalid"),
        ([1], b"", "not an object"),
        (b'{"a": {}, "a": {}}', b"", "given twice"),
        (b"PK\x03\x04", b"", "not a safetensors"),
        (b"[" * 100_000, b"", "not a safetensors"),
    ],
)
def test_a_hostile_header_is_an_error(
    tmp_path: Path, header: Any, data: bytes, message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_tensor_infos(write(tmp_path / "f.safetensors", header, data))


@pytest.mark.parametrize("length", [0, 2**63, 2**64 - 1, 10**6])
def test_a_header_longer_than_the_file_is_not_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelFileError):
        read_tensor_infos(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_a_typed_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(data)
        with pytest.raises(ModelFileError):
            read_tensor_infos(path)


def test_a_pickle_named_safetensors_never_runs(tmp_path: Path) -> None:
    (tmp_path / "f.safetensors").write_bytes(pickle.dumps(Canary(tmp_path)))
    with pytest.raises(ModelFileError):
        check_checkpoint(tmp_path / "f.safetensors")
    assert not (tmp_path / "canary").exists()


@pytest.fixture(scope="module", params=[False, True], ids=["base", "refiner"])
def sdxl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model root with a small SDXL as a diffusers folder, and the same as one file."""
    root = tmp_path_factory.mktemp("models")
    folder = write_tiny_sdxl(root / "folder", refiner=request.param)
    write_file(root / "checkpoints" / "file.safetensors", load_checkpoint(folder))
    tokenizer = "tokenizer_2" if request.param else "tokenizer"
    shutil.copytree(folder / tokenizer, root / "tokenizers" / "clip-l")
    return root


def write_file(path: Path, model: Checkpoint, **more: torch.Tensor) -> Path:
    """Write a checkpoint with the keys of the original code."""
    encoders = {encoder.kind: encoder.module for encoder in model.clip.weights.encoders}
    first = "conditioner.embedders.0.transformer.text_model."
    tensors = unet_keys(model.model.weights.module) | vae_keys(model.vae.weights.module)
    tensors |= text_keys(encoders["l"], first) if "l" in encoders else {}
    second = (
        "conditioner.embedders.1.model." if "l" in encoders else "conditioner.embedders.0.model."
    )
    tensors |= open_clip_keys(encoders["g"], second)
    path.parent.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in (tensors | more).items()}, path)
    return path


def load_both(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Checkpoint, Checkpoint]:
    monkeypatch.setenv(MODELS_VARIABLE, str(root))
    return (
        load_checkpoint(root / "folder"),
        load_checkpoint(root / "checkpoints" / "file.safetensors"),
    )


def test_one_file_and_a_folder_encode_alike(sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = load_both(sdxl, monkeypatch)
    folder, file = (encode_text(model.clip, "a (red:1.4) fox")[0] for model in models)
    assert torch.allclose(folder.tokens, file.tokens, atol=1e-6)
    assert folder.pooled is not None
    assert file.pooled is not None
    assert torch.allclose(folder.pooled, file.pooled, atol=1e-6)


def test_one_file_and_a_folder_sample_alike(sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = SamplePlan(3, 3, 4.0, "dpmpp_2m", "karras")
    images = []
    for model in load_both(sdxl, monkeypatch):
        positive, negative = encode_text(model.clip, "a fox"), encode_text(model.clip, "")
        latent = sample(model.model, make_empty(64, 96), positive, negative, plan)
        images.append(decode(model.vae, latent))
    assert torch.allclose(images[0], images[1], atol=1e-5)


def test_a_file_can_declare_v_prediction(sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = load_both(sdxl, monkeypatch)
    path = write_file(sdxl / "v.safetensors", folder, v_pred=torch.zeros(0), ztsnr=torch.zeros(0))
    sampling = load_checkpoint(path).model.sampling
    assert (sampling.prediction, sampling.zsnr) == ("v", True)


def test_a_file_without_a_text_encoder_says_so_when_it_is_used(
    sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = load_both(sdxl, monkeypatch)
    path = sdxl / "bare.safetensors"
    save_file(unet_keys(folder.model.weights.module, ""), path)
    model = load_checkpoint(path)
    got, expected = (loaded.model.weights.module.state_dict() for loaded in (model, folder))
    assert {name: value.shape for name, value in got.items()} == {
        name: value.shape for name, value in expected.items()
    }
    with pytest.raises(ModelFileError, match=r"bare\.safetensors holds no text encoder; load one"):
        encode_text(model.clip, "a fox")
    with pytest.raises(ModelFileError, match="holds no autoencoder; load one with VAELoader"):
        decode(model.vae, make_empty(64, 64))


@pytest.mark.parametrize(
    ("width", "channels", "vector", "name"),
    [
        (768, 4, None, "sd15"),
        (768, 9, None, "sd15"),
        (1024, 4, None, "sd21"),
        (2048, 4, 2816, "sdxl"),
        (2048, 9, 2816, "sdxl"),
        (1280, 4, 2560, "sdxl-refiner"),
        (768, 4, 2816, "other extra conditioning than family sd15"),
        (2048, 4, None, "other extra conditioning than family sdxl"),
        (768, 8, None, "sd15"),
        (768, 7, None, "expected one of 4, 8, 9, got 7"),
    ],
)
def test_the_family_is_detected_from_the_keys(
    tmp_path: Path, width: int, channels: int, vector: int | None, name: str
) -> None:
    path = tmp_path / "unet.safetensors"
    save_file(network(width, channels, vector), path)
    if " " in name:
        with pytest.raises(ModelFileError, match=name):
            check_checkpoint(path)
        return
    family = detect_checkpoint_family(path)
    assert (family.name, family.in_channels, family.text_dim) == (name, channels, width)
    assert family.prediction == "eps"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_wide_bias_of_sd21_means_v_prediction(tmp_path: Path, dtype: torch.dtype) -> None:
    key = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    for spread, prediction in ((0.02, "eps"), (0.2, "v")):
        tensors = network(1024, 4, None, levels=4)
        tensors[key] = torch.linspace(-2 * spread, 2 * spread, 320).to(dtype)
        save_file(tensors, tmp_path / f"{prediction}.safetensors")
        family = detect_checkpoint_family(tmp_path / f"{prediction}.safetensors")
        assert family.prediction == prediction


Shapes = dict[str, tuple[int, ...]]


def network(
    width: int, channels: int, vector: int | None, levels: int = 1
) -> dict[str, torch.Tensor]:
    """Return the tensors of a denoising network that its configuration is read from."""
    shapes: Shapes = {"input_blocks.0.0.weight": (8, channels, 3, 3), "out.2.weight": (4, 8, 3, 3)}
    shapes["middle_block.0.in_layers.0.weight"] = (8,)
    resnet: Shapes = {"in_layers.0.weight": (8,), "in_layers.2.weight": (8, 8, 3, 3)}
    attention: Shapes = {"norm.weight": (8,), "transformer_blocks.0.attn2.to_k.weight": (8, width)}
    for level in range(levels):
        blocks = [f"input_blocks.{3 * level + index}" for index in (1, 2)]
        blocks += [f"output_blocks.{3 * level + index}" for index in (0, 1, 2)]
        for block in blocks:
            shapes |= {f"{block}.0.{key}": shape for key, shape in resnet.items()}
            shapes |= {f"{block}.1.{key}": shape for key, shape in attention.items()}
        if level + 1 < levels:
            shapes[f"input_blocks.{3 * level + 3}.0.op.weight"] = (8, 8, 3, 3)
    if vector is not None:
        shapes["label_emb.0.0.weight"] = (32, vector)
    return {UNET + key: torch.zeros(shape) for key, shape in shapes.items()}


def test_the_text_encoders_shape_is_read_from_its_keys(tmp_path: Path) -> None:
    prefix = "cond_stage_model.transformer.text_model."
    tensors = {
        f"{prefix}embeddings.token_embedding.weight": torch.zeros(100, 128),
        f"{prefix}encoder.layers.0.mlp.fc1.weight": torch.zeros(256, 128),
        f"{prefix}embeddings.position_ids": torch.zeros(1, 77, dtype=torch.int64),
    }
    save_file(tensors, tmp_path / "text.safetensors")
    (encoder,) = read_contents(tmp_path / "text.safetensors").text_encoders
    assert (encoder.kind, encoder.width, encoder.has_projection) == ("l", 128, False)
    assert encoder.network.config["vocab_size"] == 100
    assert encoder.network.config["intermediate_size"] == 256
    assert encoder.network.config["num_hidden_layers"] == 1
    assert not [name for name in encoder.network.names if "position_ids" in name]


def test_a_file_without_a_network_is_an_error(tmp_path: Path) -> None:
    save_file({f"{UNET}out.2.weight": torch.zeros(1)}, tmp_path / "f.safetensors")
    with pytest.raises(ModelFileError, match="no denoising network"):
        check_checkpoint(tmp_path / "f.safetensors")


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
    assert to_diffusers_key(theirs, 4) == ours
