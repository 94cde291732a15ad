"""Upscaling nodes through the engine, with a network from the models folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from diffusion.folders import VARIABLE
from engine.errors import GraphError
from engine.events import AnyEvent, Progress
from engine.executor import Engine
from engine.graph import Graph


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
    (folder / "pickled.pth").write_bytes(b"\x80\x04")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return folder


def enlarging(name: str) -> Graph:
    b = latentloom.build()
    image = b.EmptyImage(width=20, height=10, color=0x804020)
    model = b.UpscaleModelLoader(model_name=name, id="net")
    b.ImageUpscaleWithModel(upscale_model=model, image=image, id="larger")
    return b.graph


def test_a_picture_is_made_larger_with_progress(models: Path) -> None:
    events: list[AnyEvent] = []
    with Engine(latentloom.registry()) as engine:
        graph = enlarging("compact_2x.safetensors")
        result = engine.run(graph, targets=["larger"], on_event=events.append)
        assert result.errors == ()
        assert result["larger"].shape == (1, 20, 40, 3)
    steps = [(event.step, event.total) for event in events if isinstance(event, Progress)]
    assert steps == [(1, 1)]


def test_only_safetensors_are_listed(models: Path) -> None:
    port = latentloom.registry()["UpscaleModelLoader"].port("model_name")
    assert port is not None
    assert port.options() == ("compact_2x.safetensors", "other.safetensors")


def test_a_file_of_another_kind_is_refused_before_the_run(models: Path) -> None:
    with Engine(latentloom.registry()) as engine, pytest.raises(GraphError) as refused:
        engine.run(enlarging("other.safetensors"), targets=["larger"])
    assert "UpscaleModelLoader (net) .model_name: wants an ESRGAN net" in str(refused.value)
