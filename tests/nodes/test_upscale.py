"""Upscaling nodes in the engine, with a network from the models folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.engine.errors import GraphError, InputError
from latentloom.engine.execution.events import AnyEvent, Progress
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from latentloom.nodes import upscale
from tests.tiny_model import write_tiny_model


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "upscale_models"
    folder.mkdir()
    weights = {
        "body.0.weight": torch.randn(4, 3, 3, 3) * 0.1,
        "body.0.bias": torch.zeros(4),
        "body.1.weight": torch.zeros(4),
        "body.2.weight": torch.randn(12, 4, 3, 3) * 0.1,
        "body.2.bias": torch.zeros(12),
    }
    save_file(weights, folder / "compact_2x.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    torch.save({"params": {}, "params_ema": weights}, folder / "compact_2x.pth")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    return folder


def upscale_graph(name: str) -> Graph:
    b = latentloom.build()
    image = b.EmptyImage(width=20, height=10, color=0x804020)
    model = b.UpscaleModelLoader(model_name=name, id="net")
    b.ImageUpscaleWithModel(upscale_model=model, image=image, id="larger")
    return b.graph


def test_an_image_is_upscaled_with_progress(models: Path) -> None:
    events: list[AnyEvent] = []
    with Engine(latentloom.registry()) as engine:
        graph = upscale_graph("compact_2x.safetensors")
        result = engine.run(graph, targets=["larger"], on_event=events.append)
        assert result.errors == ()
        assert result["larger"].shape == (1, 20, 40, 3)
    steps = [(event.step, event.total) for event in events if isinstance(event, Progress)]
    assert steps == [(1, 1)]


def refine_graph(**options: object) -> Graph:
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    net = b.UpscaleModelLoader(model_name="compact_2x.safetensors")
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    image = b.EmptyImage(width=45, height=37, color=0x804020)
    given = {"steps": 2, "cfg": 1.0, "denoise": 0.5, "tile_width": 64, "tile_height": 64, **options}
    b.UltimateSDUpscale(
        image=image, model=model, positive=prompt, negative=prompt, vae=vae, upscale_model=net,
        upscale_by=3.0, id="refine", **given,
    )  # fmt: skip
    return b.graph


@pytest.mark.parametrize(("mode", "calls"), [("Linear", 2 * 2 * 2), ("None", 0)])
def test_images_of_any_size_are_upscaled_and_refined_in_tiles(
    models: Path, mode: str, calls: int
) -> None:
    write_tiny_model(models.parent / "tiny")
    with Engine(latentloom.registry()) as engine:
        result = engine.run(refine_graph(mode_type=mode, tile_padding=16), targets=["refine"])
        assert result.errors == ()
        assert result["refine"].shape == (1, 111, 135, 3)
    assert result.model_calls == calls


def test_one_tile_is_image_to_image(models: Path) -> None:
    write_tiny_model(models.parent / "tiny")
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    image = b.EmptyImage(width=32, height=24, color=0x804020)
    larger = b.ImageScaleBy(image=image, upscale_method="lanczos", scale_by=2.0)
    given = {"model": model, "positive": prompt, "negative": prompt}
    options = {"steps": 2, "cfg": 1.0, "denoise": 0.5, "seed": 8}
    b.UltimateSDUpscale(image=image, vae=vae, upscale_by=2.0, id="refine", **given, **options)
    latent = b.VAEEncode(pixels=larger, vae=vae)
    sampled = b.KSampler(latent_image=latent, **given, **options)
    b.VAEDecode(samples=sampled, vae=vae, id="plain")
    with Engine(latentloom.registry()) as engine:
        result = engine.run(b.graph, targets=["refine", "plain"])
        torch.testing.assert_close(result["refine"], result["plain"], atol=1e-4, rtol=0)


def test_an_overlap_as_large_as_a_tile_is_rejected() -> None:
    with pytest.raises(InputError, match=r"tile_overlap: expected less than a tile"):
        upscale.tiled_diffusion(None, 64, 512, 64)  # type: ignore[arg-type]


def test_all_weight_files_are_listed(models: Path) -> None:
    port = latentloom.registry()["UpscaleModelLoader"].port("model_name")
    assert port is not None
    assert port.options() == ("compact_2x.pth", "compact_2x.safetensors", "other.safetensors")


def test_another_kind_of_file_is_rejected_before_the_run(models: Path) -> None:
    with Engine(latentloom.registry()) as engine, pytest.raises(GraphError) as refused:
        engine.run(upscale_graph("other.safetensors"), targets=["larger"])
    assert "UpscaleModelLoader (net) .model_name: expected an ESRGAN" in str(refused.value)
