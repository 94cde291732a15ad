"""Models in torch's file formats give the same results as in safetensors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import latentloom
from latentloom.diffusion.networks.control_load import load_control
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from tests.diffusion.networks.test_ip_adapter import layers, plain_keys, write_vision
from tests.diffusion.networks.test_upscale import first_release
from tests.nodes.test_lora import write_lora
from tests.original_keys import open_clip_keys, text_keys, unet_keys, vae_keys
from tests.tiny_model import write_tiny_control, write_tiny_sdxl
from tests.torch_files import legacy_file, pickle_call, pickle_dict, zip_file

# Each kind: its folder, and the extension of its files in torch format.
KINDS = {
    "checkpoint": ("checkpoints", ".ckpt"),
    "vae": ("vae", ".pt"),
    "lora": ("loras", ".pt"),
    "control": ("controlnet", ".pth"),
    "adapter": ("ipadapter", ".bin"),
    "upscaler": ("upscale_models", ".pth"),
    "embedding": ("embeddings", ".bin"),
}
PORTS = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "vae": ("VAELoader", "vae_name"),
    "lora": ("LoraLoader", "lora_name"),
    "control": ("ControlNetLoader", "control_net_name"),
    "adapter": ("IPAdapterModelLoader", "ipadapter_file"),
    "upscaler": ("UpscaleModelLoader", "model_name"),
}


@pytest.fixture(scope="module", autouse=True)
def installed(models: Path) -> None:
    """Write each kind as `same.safetensors` and in torch format, with its usual wrapper."""
    tiny = load_checkpoint(models / "tiny")
    larger = load_checkpoint(write_tiny_sdxl(models / "larger"))
    shutil.copytree(models / "larger" / "tokenizer", models / "tokenizers" / "clip-l")
    unet, vae = larger.model.weights.module, larger.vae.weights.module
    first, second = (part.module for part in larger.clip.weights.encoders)
    checkpoint = unet_keys(unet) | vae_keys(vae)
    checkpoint |= text_keys(first, "conditioner.embedders.0.transformer.text_model.")
    checkpoint |= open_clip_keys(second, "conditioner.embedders.1.model.")
    write_vision(models / "clip_vision" / "eyes")
    write_lora(models / "lora.safetensors", 1)
    control = write_tiny_control(models / "net")
    adapter = {**plain_keys(), **layers(tiny)}
    tensors: dict[str, dict[str, Tensor]] = {
        "checkpoint": checkpoint,
        "vae": vae_keys(vae, ""),
        "lora": load_file(models / "lora.safetensors"),
        "control": load_control(control).weights.module.state_dict(),
        "adapter": adapter,
        "upscaler": first_release(ups=1),
        "embedding": {"emb_params": torch.full((2, 32), 0.1)},
    }
    wrapped: dict[str, Any] = {
        "checkpoint": {"epoch": 3, "state_dict": checkpoint, "callbacks": {}},
        "vae": {"state_dict": tensors["vae"] | {"loss.logvar": torch.zeros(1)}, "step": 1},
        "lora": tensors["lora"],
        "control": tensors["control"],
        "adapter": {
            part: {
                name.removeprefix(f"{part}."): value
                for name, value in adapter.items()
                if name.startswith(f"{part}.")
            }
            for part in ("image_proj", "ip_adapter")
        },
        "upscaler": {"params": {}, "params_ema": tensors["upscaler"]},
        "embedding": {"string_to_param": {"*": tensors["embedding"]["emb_params"]}, "step": 5},
    }
    for kind, (folder, extension) in KINDS.items():
        (models / folder).mkdir(exist_ok=True)
        plain = {name: value.contiguous() for name, value in tensors[kind].items()}
        save_file(plain, models / folder / "same.safetensors")
        torch.save(
            wrapped[kind],
            models / folder / f"old{extension}",
            _use_new_zipfile_serialization=kind not in ("upscaler", "lora"),
        )


def name_of(kind: str, old: str) -> str:
    return f"old{KINDS[kind][1]}" if kind == old else "same.safetensors"


def image_graph(old: str = "") -> Graph:
    """Build an image from models of most kinds, one of them in torch format."""
    b = latentloom.build()
    loaded, clip, _ = b.CheckpointLoaderSimple(ckpt_name="tiny")
    model, clip = b.LoraLoader(model=loaded, clip=clip, lora_name=name_of("lora", old))
    image = b.EmptyImage(width=64, height=64, color=0x804020)
    prompted = b.IPAdapterAdvanced(
        model=model,
        ipadapter=b.IPAdapterModelLoader(ipadapter_file=name_of("adapter", old)),
        clip_vision=b.CLIPVisionLoader(clip_name="eyes"),
        image=image,
    )
    prompt = b.CLIPTextEncode(text=f"a fox embedding:{name_of('embedding', old)}", clip=clip)
    net = b.ControlNetLoader(control_net_name=name_of("control", old))
    guided = b.ControlNetApply(conditioning=prompt, control_net=net, image=image, strength=0.5)
    vae = b.VAELoader(vae_name=name_of("vae", old))
    sample = b.KSampler(
        model=prompted,
        positive=guided,
        negative=prompt,
        latent_image=b.VAEEncode(pixels=image, vae=vae),
        steps=2,
        denoise=0.8,
    )
    net = b.UpscaleModelLoader(model_name=name_of("upscaler", old))
    decoded = b.VAEDecode(samples=sample, vae=vae)
    b.ImageUpscaleWithModel(upscale_model=net, image=decoded, id="larger")
    return b.graph


def checkpoint_graph(old: str = "") -> Graph:
    """Build an image from a checkpoint in one file."""
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name=name_of("checkpoint", old))
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent = b.EmptyLatentImage(width=64, height=64)
    sample = b.KSampler(model=model, positive=prompt, negative=prompt, latent_image=latent, steps=2)
    b.VAEDecode(samples=sample, vae=vae, id="larger")
    return b.graph


def graph_of_kind(kind: str, old: str) -> Graph:
    return checkpoint_graph(old) if kind == "checkpoint" else image_graph(old)


def run(engine: Engine, graph: Graph) -> Tensor:
    result = engine.run(graph, targets=["larger"])
    assert result.errors == ()
    got: Tensor = result["larger"]
    return got


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_torch_format_gives_the_same_image(
    engine: Engine, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Results that were computed with the original file are reused, except those of this model."""
    usual, got = run(engine, graph_of_kind(kind, "")), run(engine, graph_of_kind(kind, kind))
    assert torch.equal(got, usual)
    assert "left out" not in caplog.text


@pytest.mark.parametrize("kind", PORTS)
@pytest.mark.parametrize("form", [zip_file, legacy_file])
def test_a_hostile_file_is_rejected_before_the_run(
    engine: Engine, models: Path, tmp_path: Path, kind: str, form: Any
) -> None:
    folder, extension = KINDS[kind]
    file, fired = models / folder / f"old{extension}", tmp_path / "fired"
    sound = file.read_bytes()
    try:
        file.write_bytes(form(pickle_dict(pickle_call("os.system", f"touch {fired}")[2:-1])))
        with pytest.raises(GraphError) as refused:
            engine.run(graph_of_kind(kind, kind), targets=["larger"])
    finally:
        file.write_bytes(sound)
    node, port = PORTS[kind]
    said = [
        problem
        for problem in refused.value.problems
        if (problem.type, problem.port) == (node, port)
    ]
    assert said
    assert "it asks to call os.system, which is not allowed in a weight file" in str(said[0])
    assert not fired.exists()
