"""TAESD in two files is diffusers' network, at the scale of the family's latents."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import latentloom
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.family import Family
from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.families.sdxl import SDXL
from latentloom.diffusion.families.unet import unet_family
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks import preview
from latentloom.diffusion.networks.load import load_vae
from latentloom.diffusion.networks.preview import LatentPreview, decode_with_taesd, render_jpeg
from latentloom.diffusion.networks.vae import decode, encode
from latentloom.diffusion.weights.detect import check_vae, detect_vae_family
from latentloom.diffusion.weights.folders import MODELS_VARIABLE, list_models, resolve_model
from latentloom.diffusion.weights.listing import describe_model
from latentloom.engine.execution.executor import Engine


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    from diffusers import AutoencoderTiny

    torch.manual_seed(4)
    network: torch.nn.Module = AutoencoderTiny().eval()
    return network


def original_weights(network: torch.nn.Module, side: str) -> dict[str, Tensor]:
    """Return the weights of the encoder or the decoder under their original names."""
    first, weights = {"encoder": 0, "decoder": 1}[side], dict[str, Tensor]()
    for name, value in network.state_dict().items():
        if name.startswith(f"{side}.layers."):
            number, _, parameter = name.removeprefix(f"{side}.layers.").partition(".")
            weights[f"{int(number) + first}.{parameter}"] = value
    return weights


@pytest.fixture
def folder(network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vae_approx").mkdir()
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    for name in ("taesd", "taesdxl"):
        for side in ("encoder", "decoder"):
            file = tmp_path / "vae_approx" / f"{name}_{side}.safetensors"
            save_file(original_weights(network, side), file)
    return tmp_path / "vae_approx"


@pytest.mark.parametrize(("name", "family"), [("taesd", SD15), ("taesdxl", SDXL)])
def test_it_encodes_and_decodes_at_the_scale_of_its_family(
    name: str, family: object, folder: Path, network: torch.nn.Module
) -> None:
    vae = load_vae(resolve_model("vae", name))
    image = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scaled = network.encode(image.movedim(-1, 1) * 2 - 1).latents  # type: ignore[operator]
        decoded = network.decode(scaled).sample  # type: ignore[operator]
    latent = encode(vae, image)
    assert vae.family is family
    assert torch.allclose(latent.samples * vae.family.space.read_scale(), scaled, atol=1e-5)
    got = decode(vae, Latent(scaled / vae.family.space.read_scale()))
    assert torch.allclose(got, ((decoded + 1) / 2).clamp(0, 1).movedim(1, -1), atol=1e-5)


def test_files_in_torch_format_are_the_same_network(folder: Path, network: torch.nn.Module) -> None:
    expected = load_vae(resolve_model("vae", "taesd")).weights.module.state_dict()
    for side in ("encoder", "decoder"):
        torch.save(original_weights(network, side), folder / f"taesd_{side}.pth")
        (folder / f"taesd_{side}.safetensors").unlink()
    weights = load_vae(resolve_model("vae", "taesd")).weights.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())


def test_it_is_listed_only_with_both_files(folder: Path) -> None:
    assert {"taesd", "taesdxl"} <= set(list_models("vae"))
    (folder / "taesdxl_decoder.safetensors").unlink()
    assert "taesd" in list_models("vae")
    assert "taesdxl" not in list_models("vae")


def test_it_is_described_as_an_autoencoder_of_its_family(folder: Path) -> None:
    description = describe_model(resolve_model("vae", "taesdxl"))
    assert (description.holds, description.family, description.precision) == (
        "autoencoder",
        "sdxl",
        "fp32",
    )
    assert detect_vae_family(folder / "taesd_encoder.safetensors") is SD15


def test_a_file_of_another_network_is_an_error(folder: Path) -> None:
    save_file({"0.weight": torch.zeros(64, 3)}, folder / "taesd_encoder.safetensors")
    with pytest.raises(ModelFileError, match="holds no encoder of TAESD"):
        check_vae(folder / "taesd_encoder.safetensors")


def test_a_file_that_lacks_weights_is_an_error(folder: Path) -> None:
    file = folder / "taesd_decoder.safetensors"
    save_file({name: value for name, value in load_file(file).items() if name[0] != "9"}, file)
    with pytest.raises(ModelFileError, match=r"lacks the weights 8\.conv\.0\.bias"):
        load_vae(folder / "taesd_encoder.safetensors")


def test_another_decoder_gives_another_image(folder: Path) -> None:
    builder = latentloom.build()
    vae = builder.VAELoader(vae_name="taesd")
    latent = builder.EmptyLatentImage(width=64, height=64)
    builder.VAEDecode(samples=latent, vae=vae, id="decode")
    file = folder / "taesd_decoder.safetensors"
    with Engine(latentloom.registry()) as engine:
        before = engine.run(builder.graph, targets=["decode"])["decode"]
        save_file({name: value * 0.5 for name, value in load_file(file).items()}, file)
        after = engine.run(builder.graph, targets=["decode"])["decode"]
    assert not torch.equal(before, after)


def test_previews_use_it_if_it_is_installed(folder: Path, network: torch.nn.Module) -> None:
    latent = torch.randn(2, 4, 6, 9, generator=torch.Generator().manual_seed(2))
    drawn = decode_with_taesd(LatentPreview(latent, SD15))
    assert drawn is not None
    with torch.inference_mode():
        expected = (network.decode(latent[:1]).sample + 1) / 2  # type: ignore[operator]
    assert torch.allclose(drawn, expected[0].movedim(0, -1).clamp(0, 1), atol=1e-6)
    data = render_jpeg(LatentPreview(latent, SD15), "taesd")
    assert data is not None
    assert Image.open(BytesIO(data)).size == (72, 48)


def test_a_preview_on_the_cpu_uses_it_only_on_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_fitted", {})
    sketch = LatentPreview(torch.zeros(1, 4, 4, 4), SD15)
    assert render_jpeg(sketch) is None
    assert render_jpeg(sketch, "latent2rgb") is None
    assert render_jpeg(sketch, "taesd") is not None


def test_a_damaged_file_gives_no_preview(folder: Path) -> None:
    (folder / "taesdxl_decoder.safetensors").write_bytes(b"damaged")
    assert decode_with_taesd(LatentPreview(torch.zeros(1, 4, 4, 4), SDXL)) is None


@pytest.mark.parametrize(
    "other", [unet_family("other"), replace(SD15, space=replace(SD15.space, channels=16))]
)
def test_latents_of_other_spaces_get_no_preview_from_it(other: Family, folder: Path) -> None:
    assert decode_with_taesd(LatentPreview(torch.zeros(1, 16, 4, 4), other)) is None
