"""Models loaded from separate files give the same result as the full checkpoint."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from tests.original_keys import open_clip_keys, text_keys, unet_keys, vae_keys
from tests.tiny_model import write_tiny_sdxl
from tests.torch_files import Canary


@pytest.fixture(scope="module", autouse=True)
def installed(models: Path) -> None:
    """Write a small SDXL as a folder, and each of its networks as a file."""
    folder = write_tiny_sdxl(models / "diffusers" / "whole")
    checkpoint = load_checkpoint(folder)
    first, second = (part.module for part in checkpoint.clip.weights.encoders)
    shutil.copytree(folder / "tokenizer", models / "tokenizers" / "clip-l")
    unet, vae = checkpoint.model.weights.module, checkpoint.vae.weights.module
    files = {
        "unet/original": unet_keys(unet, ""),
        "diffusion_models/diffusers": unet.state_dict(),
        "clip/clip_l": text_keys(first, "text_model."),
        "text_encoders/clip_g": second.state_dict(),
        "text_encoders/open_clip_g": open_clip_keys(second, ""),
        "vae/original": vae_keys(vae, ""),
        "vae/whole_checkpoint": vae_keys(vae) | unet_keys(unet),
        "vae/diffusers": vae.state_dict(),
        "checkpoints/bare": unet_keys(unet),
    }
    for name, tensors in files.items():
        path = models / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def image_graph(unet: str = "", clips: tuple[str, str] | None = None, vae: str = "") -> Graph:
    """Build txt2img on the full model, with the given parts from separate files."""
    builder = latentloom.build()
    parts: list[Any] = list(builder.DiffusersLoader(model_path="whole"))
    model, clip, decoder = parts
    if unet:
        model = builder.UNETLoader(unet_name=f"{unet}.safetensors")
    if clips:
        names = [f"{name}.safetensors" for name in clips]
        clip = builder.DualCLIPLoader(clip_name1=names[0], clip_name2=names[1], type="sdxl")
    if vae:
        decoder = builder.VAELoader(vae_name=f"{vae}.safetensors")
    positive = builder.CLIPTextEncode(text="a fox", clip=clip)
    negative = builder.CLIPTextEncode(text="", clip=clip)
    sample = builder.KSampler(
        model=model,
        positive=positive,
        negative=negative,
        latent_image=builder.EmptyLatentImage(width=64, height=64),
        steps=2,
        seed=3,
        cfg=4.0,
    )
    builder.VAEDecode(samples=sample, vae=decoder, id="decode")
    return builder.graph


def run(engine: Engine, graph: Graph) -> Any:
    result = engine.run(graph, targets=["decode"])
    assert result.errors == ()
    return result["decode"]


@pytest.mark.parametrize(
    "parts",
    [
        {"unet": "original"},
        {"unet": "diffusers"},
        {"clips": ("clip_l", "clip_g")},
        {"clips": ("open_clip_g", "clip_l")},
        {"vae": "original"},
        {"vae": "diffusers"},
        {"vae": "whole_checkpoint"},
        {"unet": "original", "clips": ("clip_l", "clip_g"), "vae": "original"},
    ],
    ids=str,
)
def test_parts_in_separate_files_give_the_same_model(engine: Engine, parts: dict[str, Any]) -> None:
    checkpoint, apart = run(engine, image_graph()), run(engine, image_graph(**parts))
    assert torch.allclose(checkpoint, apart, atol=1e-5)


def test_eight_bit_weights_change_the_result_slightly(engine: Engine) -> None:
    builder = latentloom.build()
    plain = builder.UNETLoader(unet_name="original.safetensors", id="plain")
    small = builder.UNETLoader(
        unet_name="original.safetensors", weight_dtype="fp8_e4m3fn", id="small"
    )
    assert plain
    assert small
    result = engine.run(builder.graph, targets=["plain", "small"])
    first, second = (result[id].weights.module.conv_in.weight for id in ("plain", "small"))
    assert not torch.equal(first, second)
    assert torch.allclose(first, second, rtol=0.07, atol=0.002)


@pytest.mark.parametrize(
    ("node", "inputs", "port", "message"),
    [
        ("UNETLoader", {"unet_name": "original.safetensor"}, "unet_name", "did you mean"),
        ("CLIPLoader", {"clip_name": "clip_l.safetensors", "type": "wan"}, "type",
         "expected sd3 or stable_diffusion or sdxl for CLIP L, got wan"),
        ("DualCLIPLoader", {"clip_name1": "clip_l.safetensors", "clip_name2": "clip_l.safetensors"},
         "clip_name2", "hold CLIP L and CLIP L; a model has one L and one G"),
        ("DualCLIPLoader", {"clip_name1": "clip_l.safetensors", "clip_name2": "clip_g.safetensors",
                            "type": "flux"}, "type", "got flux"),
        ("VAELoader", {"vae_name": "nothing.safetensors"}, "vae_name", "did you mean"),
    ],
)  # fmt: skip
def test_a_wrong_part_is_rejected_before_anything_runs(
    node: str, inputs: dict[str, str], port: str, message: str
) -> None:
    graph = Graph({"it": latentloom.Node(node, inputs)})
    problems = [problem for problem in latentloom.check(graph) if problem.node == "it"]
    assert [problem.port for problem in problems] == [port]
    assert message in str(problems[0])


def test_a_hostile_pickle_is_rejected_before_anything_runs(models: Path) -> None:
    (models / "unet" / "zzz.ckpt").write_bytes(pickle.dumps(Canary(models)))
    graph = Graph({"it": latentloom.Node("UNETLoader", {"unet_name": "zzz.ckpt"})})
    (problem,) = (problem for problem in latentloom.check(graph) if problem.node == "it")
    assert (problem.port, problem.expected) == ("unet_name", "a file with a diffusion model")
    assert "it asks to call posix.mkdir, which is not allowed in a weight file" in problem.got
    assert not (models / "canary").exists()


def test_backslashes_in_a_name_are_accepted(models: Path) -> None:
    (models / "unet" / "sub").mkdir()
    shutil.copy(models / "unet/original.safetensors", models / "unet/sub")
    name = "sub\\original.safetensors"
    graph = Graph({"it": latentloom.Node("UNETLoader", {"unet_name": name})})
    assert [problem for problem in latentloom.check(graph) if problem.node == "it"] == []


def test_a_text_encoder_loaded_as_a_unet_is_reported(models: Path) -> None:
    shutil.copy(models / "clip/clip_l.safetensors", models / "unet/wrong.safetensors")
    graph = Graph({"it": latentloom.Node("UNETLoader", {"unet_name": "wrong.safetensors"})})
    (problem,) = (problem for problem in latentloom.check(graph) if problem.node == "it")
    assert "holds no denoising network" in str(problem)


def test_the_refiner_shares_the_latent_space_of_the_base() -> None:
    from latentloom.diffusion.families.table import share_space

    assert share_space("sdxl-refiner", "sdxl")
    assert share_space("sd21", "sd15")
    assert not share_space("sdxl", "sd15")


def test_missing_parts_of_a_checkpoint_are_reported_before_anything_runs(engine: Engine) -> None:
    builder = latentloom.build()
    model, clip, vae = builder.CheckpointLoaderSimple(ckpt_name="bare.safetensors", id="loader")
    builder.CLIPTextEncode(text="a fox", clip=clip, id="prompt")
    latent = builder.EmptyLatentImage(model=model)
    builder.PreviewImage(images=builder.VAEDecode(samples=latent, vae=vae, id="decode"))
    problems = {problem.node: problem for problem in engine.check(builder.graph)}
    assert problems.keys() == {"prompt", "decode"}
    assert "load one with CLIPLoader or DualCLIPLoader" in problems["prompt"].hint
    assert str(problems["decode"]) == (
        "VAEDecode (decode) .vae: expected VAE, got nothing: "
        "bare.safetensors holds no autoencoder\n"
        "  made by: CheckpointLoaderSimple (loader)\n"
        "  try:     load one with VAELoader"
    )


def test_a_bare_checkpoint_runs_with_parts_from_elsewhere(engine: Engine) -> None:
    builder = latentloom.build()
    model, _, _ = builder.CheckpointLoaderSimple(ckpt_name="bare.safetensors")
    vae = builder.VAELoader(vae_name="original.safetensors")
    latent = builder.EmptyLatentImage(model=model)
    decoded = builder.VAEDecode(samples=latent, vae=vae, id="decode")
    builder.PreviewImage(images=decoded)
    assert engine.check(builder.graph) == ()


def test_a_model_file_is_hashed_once_for_keys_and_weights(
    engine: Engine, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    file_digest = hashlib.file_digest

    def count(stream: BufferedReader, name: str) -> object:
        hashed.append(Path(stream.name).name)
        return file_digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    source = models / "vae" / "original.safetensors"
    shutil.copyfile(source, source.with_name("again.safetensors"))
    run(engine, image_graph(vae="again"))
    assert hashed.count("again.safetensors") == 1
    assert not [name for name in engine.shared.digests._known if name.endswith(".safetensors")]
