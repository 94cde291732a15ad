"""TAESD in two files is the network of diffusers, at the scale of the family's latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import latentloom
from diffusion.detect import check_vae, vae_family
from diffusion.errors import ModelFileError
from diffusion.families import SD15, SDXL
from diffusion.folders import VARIABLE, list_models, resolve_model
from diffusion.latents import Latent
from diffusion.listing import describe
from diffusion.load import load_vae
from diffusion.vae import decode, encode
from engine.executor import Engine


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    from diffusers import AutoencoderTiny

    torch.manual_seed(4)
    made: torch.nn.Module = AutoencoderTiny().eval()
    return made


def half(network: torch.nn.Module, side: str) -> dict[str, Tensor]:
    """The weights of one side under their original names."""
    first, found = {"encoder": 0, "decoder": 1}[side], dict[str, Tensor]()
    for name, value in network.state_dict().items():
        if name.startswith(f"{side}.layers."):
            number, _, rest = name.removeprefix(f"{side}.layers.").partition(".")
            found[f"{int(number) + first}.{rest}"] = value
    return found


@pytest.fixture
def folder(network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vae_approx").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for name in ("taesd", "taesdxl"):
        for side in ("encoder", "decoder"):
            file = tmp_path / "vae_approx" / f"{name}_{side}.safetensors"
            save_file(half(network, side), file)
    return tmp_path / "vae_approx"


@pytest.mark.parametrize(("name", "family"), [("taesd", SD15), ("taesdxl", SDXL)])
def test_it_goes_both_ways_at_the_scale_of_its_family(
    name: str, family: object, folder: Path, network: torch.nn.Module
) -> None:
    vae = load_vae(resolve_model("vae", name))
    picture = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scaled = network.encode(picture.movedim(-1, 1) * 2 - 1).latents  # type: ignore[operator]
        shown = network.decode(scaled).sample  # type: ignore[operator]
    latent = encode(vae, picture)
    assert vae.family is family
    assert torch.allclose(latent.samples * vae.family.latent_scale, scaled, atol=1e-5)
    got = decode(vae, Latent(scaled / vae.family.latent_scale))
    assert torch.allclose(got, ((shown + 1) / 2).clamp(0, 1).movedim(1, -1), atol=1e-5)


def test_it_is_listed_only_with_both_halves(folder: Path) -> None:
    assert {"taesd", "taesdxl"} <= set(list_models("vae"))
    (folder / "taesdxl_decoder.safetensors").unlink()
    assert "taesd" in list_models("vae")
    assert "taesdxl" not in list_models("vae")


def test_it_is_told_what_it_is(folder: Path) -> None:
    facts = describe(resolve_model("vae", "taesdxl"))
    assert (facts.holds, facts.family, facts.precision) == ("autoencoder", "sdxl", "fp32")
    assert vae_family(folder / "taesd_encoder.safetensors") is SD15


def test_a_file_of_something_else_is_refused(folder: Path) -> None:
    save_file({"0.weight": torch.zeros(64, 3)}, folder / "taesd_encoder.safetensors")
    with pytest.raises(ModelFileError, match="holds no encoder of TAESD"):
        check_vae(folder / "taesd_encoder.safetensors")


def test_a_half_that_lacks_weights_is_refused(folder: Path) -> None:
    file = folder / "taesd_decoder.safetensors"
    save_file({name: value for name, value in load_file(file).items() if name[0] != "9"}, file)
    with pytest.raises(ModelFileError, match="taesd is not whole"):
        load_vae(folder / "taesd_encoder.safetensors")


def test_another_decoder_is_another_picture(folder: Path) -> None:
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
