"""IP-Adapter nodes in the engine: listing, checks, effect on the model, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from tests.diffusion.networks.test_ip_adapter import layers, plain_keys, write_vision


@pytest.fixture(scope="module", autouse=True)
def adapters(models: Path) -> None:
    """Write `plain` for `tiny`, its image encoder `eyes`, and `few`, which lacks layers."""
    write_vision(models / "clip_vision" / "eyes")
    (models / "ipadapter").mkdir()
    weights = {**plain_keys(), **layers(load_checkpoint(models / "tiny"))}
    save_file(weights, models / "ipadapter" / "plain.safetensors")
    few = {name: tensor for name, tensor in weights.items() if ".3." not in name}
    save_file(few, models / "ipadapter" / "few.safetensors")


def image_prompt_graph(checkpoint: str = "tiny", adapter: str = "plain", **options: Any) -> Graph:
    b = latentloom.build()
    model, clip, _ = b.CheckpointLoaderSimple(ckpt_name=checkpoint)
    image = b.EmptyImage(width=40, height=30, color=0x804020)
    prompted = b.IPAdapterAdvanced(
        model=model,
        ipadapter=b.IPAdapterModelLoader(ipadapter_file=f"{adapter}.safetensors"),
        clip_vision=b.CLIPVisionLoader(clip_name="eyes"),
        image=image,
        id="ip",
        **options,
    )
    text = b.CLIPTextEncode(text="a fox", clip=clip)
    b.KSampler(
        model=prompted,
        positive=text,
        negative=text,
        latent_image=b.EmptyLatentImage(width=64, height=64),
        steps=2,
        id="sample",
    )
    return b.graph


def test_an_image_prompt_changes_the_result_unless_its_weight_is_0(engine: Engine) -> None:
    results = [
        engine.run(image_prompt_graph(weight=weight), targets=["sample"])["sample"].samples
        for weight in (0.0, 1.0)
    ]
    graph = image_prompt_graph()
    (loader,) = [id for id, node in graph.nodes.items() if node.type == "CheckpointLoaderSimple"]
    graph = graph.set("sample.model", latentloom.Link(loader, "MODEL"))
    plain = engine.run(graph, targets=["sample"])["sample"].samples
    assert torch.equal(results[0], plain)
    assert not torch.equal(results[1], plain)


def encode_two_colors(engine: Engine, crop: str, width: int) -> Any:
    """Encode with `eyes` an image whose left half is red and whose right half is blue."""
    b = latentloom.build()
    sides = [b.EmptyImage(width=width, height=32, color=color) for color in (0xFF0000, 0x0000FF)]
    both = b.ImageStitch(image1=sides[0], image2=sides[1])
    vision = b.CLIPVisionLoader(clip_name="eyes")
    b.CLIPVisionEncode(clip_vision=vision, image=both, crop=crop, id="seen")
    result = engine.run(b.graph, targets=["seen"])
    assert result.errors == ()
    return result["seen"]


def test_the_image_encoder_crops_or_squeezes(engine: Engine) -> None:
    square, middle, squeezed = (
        encode_two_colors(engine, crop, width)
        for crop, width in (("center", 16), ("center", 64), ("none", 64))
    )
    assert (square.embeds.ndim, square.patches.ndim) == (2, 3)
    # Both are half red and half blue; only the sharpness of the edge differs.
    assert torch.allclose(middle.embeds, square.embeds, atol=0.1 * float(square.embeds.std()))
    assert torch.allclose(squeezed.embeds, square.embeds, atol=0.1 * float(square.embeds.std()))
    assert not torch.equal(middle.embeds, squeezed.embeds)


def test_an_adapter_of_another_family_is_rejected_before_the_run(engine: Engine) -> None:
    with pytest.raises(GraphError, match="family"):
        engine.run(image_prompt_graph("wide"), targets=["sample"])


def test_an_adapter_for_other_layers_is_rejected(engine: Engine) -> None:
    (error,) = engine.run(image_prompt_graph(adapter="few"), targets=["sample"]).errors
    assert "IPAdapterAdvanced (ip) .ipadapter: expected an adapter for" in str(error)
