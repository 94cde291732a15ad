"""Model folders: loaded once, rejected with reasons, identified without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint, load_vae
from latentloom.diffusion.networks.network_files import load_network_folder
from latentloom.diffusion.weights.detect import (
    check_checkpoint,
    detect_checkpoint_family,
    detect_vae_family,
)
from latentloom.diffusion.weights.digest import content_digest
from latentloom.diffusion.weights.folders import MODELS_VARIABLE, list_models, resolve_model


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def test_the_family_comes_from_the_configurations(tiny_folder: Path) -> None:
    family = detect_checkpoint_family(tiny_folder)
    assert (family.name, family.text_dim, family.latent_channels) == ("sd-32", 32, 4)
    assert (family.native_size, family.vae_factor, family.prediction) == (64, 8, "eps")
    assert detect_vae_family(tiny_folder / "vae") == family


def test_velocity_prediction_is_read_from_the_scheduler(copy: Path) -> None:
    (copy / "scheduler/scheduler_config.json").write_text('{"prediction_type": "v_prediction"}')
    assert load_checkpoint(copy).model.sampling.prediction == "v"


def test_the_same_folder_is_loaded_once(tiny: Checkpoint, tiny_folder: Path, copy: Path) -> None:
    again, elsewhere = load_checkpoint(tiny_folder), load_checkpoint(copy)
    assert again.model.weights is tiny.model.weights is elsewhere.model.weights
    assert load_vae(copy / "vae").weights is tiny.vae.weights


def test_fingerprints_depend_on_the_content_of_handles(tiny: Checkpoint, copy: Path) -> None:
    again = load_checkpoint(copy)
    assert again.model.fingerprint == tiny.model.fingerprint
    assert again.clip.fingerprint != again.vae.fingerprint


def test_the_networks_run_on_the_chosen_device(tiny: Checkpoint) -> None:
    from latentloom.diffusion.networks import devices

    assert tiny.model.weights.device.type == devices.device().type
    assert tiny.model.weights.dtype == devices.network_dtype()
    assert not any(weight.requires_grad for weight in tiny.model.weights.module.parameters())


@pytest.mark.parametrize(
    ("part", "old"),
    [
        ("unet", "diffusion_pytorch_model.bin"),
        ("vae", "diffusion_pytorch_model.bin"),
        ("text_encoder", "pytorch_model.bin"),
    ],
)
def test_a_folder_with_weights_in_torchs_own_form_is_the_same_model(
    tiny: Checkpoint, copy: Path, part: str, old: str
) -> None:
    (weights,) = (copy / part).glob("*.safetensors")
    torch.save(load_file(weights) | {"text_model.position_ids": torch.zeros(2)}, copy / part / old)
    weights.rename(weights.with_suffix(".fp16.safetensors"))  # a variant, which is not loaded
    model = load_checkpoint(copy)
    for loaded, same in zip(networks(model), networks(tiny), strict=True):
        expected = same.state_dict()
        assert loaded.state_dict().keys() == expected.keys()
        assert all(
            torch.equal(value, expected[name]) for name, value in loaded.state_dict().items()
        )


def networks(model: Checkpoint) -> list[torch.nn.Module]:
    texts = [encoder.module for encoder in model.clip.weights.encoders]
    return [model.model.weights.module, model.vae.weights.module, *texts]


def test_a_folder_with_a_pickle_of_something_else_is_rejected(copy: Path) -> None:
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(ModelFileError, match=r"copy/unet: diffusion_pytorch_model\.bin"):
        load_checkpoint(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_truncated_part_is_rejected(copy: Path, part: str) -> None:
    (weights,) = (copy / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFileError):
        load_checkpoint(copy)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 10, b"\xff" * 40, b"\x08\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_not_safetensors_is_rejected_by_its_header(copy: Path, data: bytes) -> None:
    (copy / "unet/diffusion_pytorch_model.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError):
        check_checkpoint(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000])
def test_a_broken_configuration_is_rejected(copy: Path, text: str) -> None:
    (copy / "unet/config.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"unet/config\.json"):
        load_checkpoint(copy)


def test_a_changed_file_changes_the_digest(copy: Path) -> None:
    before = content_digest(copy / "unet")
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps({**config, "note": 1}))
    assert content_digest(copy / "unet") != before


def test_models_are_found_under_their_names(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = copy.parent / "checkpoints" / "sub"
    nested.mkdir(parents=True)
    shutil.copytree(copy, nested / "deep")
    monkeypatch.setenv(MODELS_VARIABLE, str(copy.parent))
    assert {"copy", "sub/deep"} <= set(list_models("checkpoints"))
    assert resolve_model("checkpoints", "sub/deep") == nested / "deep"
    assert resolve_model("vae", "copy") == copy / "vae"


@pytest.mark.parametrize("name", ["../copy", "/etc", "coppy", ""])
def test_an_unknown_name_is_rejected(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(copy.parent))
    with pytest.raises(ModelFileError, match="no model"):
        resolve_model("checkpoints", name)


def test_detecting_families_needs_no_torch() -> None:
    code = (
        "import sys; from latentloom.diffusion.weights import detect, folders;"
        "from latentloom.diffusion.schedules import names;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_predictions_are_float32(tiny: Checkpoint) -> None:
    with torch.inference_mode():
        got = tiny.model.weights.predict(
            torch.zeros(2, 4, 8, 8), torch.tensor([1.0, 2.0]), torch.zeros(2, 77, 32)
        )
    assert got.dtype == torch.float32
    assert got.shape == (2, 4, 8, 8)


def rewrite_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("part", "name"),
    [("unet", "conv_in.bias"), ("vae", "encoder.conv_in.bias"), ("text_encoder", None)],
)
def test_missing_weights_are_an_error(copy: Path, part: str, name: str | None) -> None:
    (file,) = (copy / part).glob("*.safetensors")
    name = name or next(key for key in load_file(file) if key.endswith("final_layer_norm.bias"))
    rewrite_weights(file, lambda tensors: tensors.pop(name))
    with pytest.raises(ModelFileError, match="lacks the weights"):
        load_checkpoint(copy)


def test_weights_of_another_shape_are_rejected(copy: Path) -> None:
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    rewrite_weights(file, lambda tensors: tensors.update({"conv_in.bias": torch.zeros(5)}))
    with pytest.raises(
        ModelFileError, match=r"conv_in\.bias: expected 32 numbers, got the shape \(5,\)"
    ):
        load_checkpoint(copy)


def test_a_tokenizer_larger_than_the_text_encoder_is_rejected(copy: Path) -> None:
    file = copy / "tokenizer/vocab.json"
    words = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**words, "more</w>": 99_999}), "utf-8")
    with pytest.raises(ModelFileError, match="has token 99999"):
        load_checkpoint(copy)


def test_a_vocabulary_without_special_tokens_is_rejected(copy: Path) -> None:
    file = copy / "tokenizer/vocab.json"
    words = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({word: words[word] for word in words if "|" not in word}), "utf-8")
    with pytest.raises(ModelFileError, match="lacks a special token"):
        load_checkpoint(copy)


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("no room")])
def test_out_of_memory_is_not_reported_as_a_broken_file(error: Exception, copy: Path) -> None:
    """Residency offloads weights for the one error and gives up on the other."""

    class Network:
        @staticmethod
        def from_pretrained(_folder: Path, **_options: object) -> None:
            raise error

        load_config = from_config = from_pretrained

    with pytest.raises(type(error), match="no room"):
        load_network_folder(Network, copy / "unet", torch.float32)


@pytest.mark.parametrize(
    ("part", "key"), [("text_encoder", "intermediate_size"), ("vae", "latent_channels")]
)
def test_a_configuration_of_a_far_larger_network_is_refused_before_it_is_made(
    part: str, key: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel

    kind = CLIPTextModel if part == "text_encoder" else AutoencoderKL
    file = copy / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), key: 2**15}), "utf-8")
    monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("it was made"))
    with pytest.raises(ModelFileError, match="numbers, got that of"):
        load_network_folder(kind, copy / part, torch.float32)
