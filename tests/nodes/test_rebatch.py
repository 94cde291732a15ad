"""RebatchLatents and RebatchImages in the engine: later nodes run once per batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import latentloom
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph


def rebatch_graph(size: int) -> Graph:
    """Build a graph that samples three latents in batches of `size` and saves the images."""
    builder = latentloom.build()
    model, clip, vae = builder.CheckpointLoaderSimple(ckpt_name="tiny")
    text = builder.CLIPTextEncode(text="a fox", clip=clip)
    latent = builder.EmptyLatentImage(model=model, width=64, height=64, batch_size=3)
    latents = builder.RebatchLatents(latents=latent, batch_size=size, id="cut")
    sample = builder.KSampler(
        model=model,
        positive=text,
        negative=text,
        latent_image=latents,
        steps=2,
        seed=5,
        id="sample",
    )
    images = builder.VAEDecode(samples=sample, vae=vae)
    joined = builder.RebatchImages(images=images, batch_size=9, id="whole")
    builder.SaveImage(images=joined, filename_prefix=f"of_{size}", id="save")
    return builder.graph


@pytest.mark.parametrize(("size", "calls"), [(1, 6), (2, 4), (3, 2), (4096, 2)])
def test_a_batch_sampled_in_parts_equals_the_batch_sampled_at_once(
    size: int, calls: int, engine: Engine, tmp_path: Path
) -> None:
    engine.cache.clear()
    graph = rebatch_graph(size)
    workspace = latentloom.workspace(graph, tmp_path)
    parts = engine.run(graph, workspace, targets=["save", "whole"])
    assert parts.model_calls == calls
    assert len(parts.saved) == 3
    (images,) = parts["whole"]
    (at_once,) = engine.run(rebatch_graph(3), targets=["whole"])["whole"]
    assert images.shape == (3, 64, 64, 3)
    assert torch.allclose(images, at_once, atol=1e-5)
    assert not torch.allclose(images[0], images[1], atol=1e-2)


def test_the_definition_declares_lists() -> None:
    from latentloom.web.object_info import definition

    shown = definition(latentloom.registry()["RebatchLatents"], list)
    assert shown["output_is_list"] == [True]
    assert shown["is_input_list"] is True
    assert "is_input_list" not in definition(latentloom.registry()["KSampler"], list)
