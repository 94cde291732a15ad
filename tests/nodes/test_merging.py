"""Merging nodes in the engine: results and errors."""

from __future__ import annotations

import pytest
import torch

import latentloom
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph


def merge_graph(kind: str, **shares: float) -> Graph:
    """Build a graph that samples a checkpoint, and the merge of it with another."""
    b = latentloom.build()
    first = b.CheckpointLoaderSimple(ckpt_name="tiny", id="first")
    second = b.CheckpointLoaderSimple(ckpt_name="tiny", id="second")
    bent = b.CLIPMergeSubtract(clip1=first.CLIP, clip2=second.CLIP, multiplier=0.5)
    clip = b.CLIPMergeAdd(clip1=b.CLIPMergeSimple(clip1=first.CLIP, clip2=second.CLIP), clip2=bent)
    text = b.CLIPTextEncode(text="a fox", clip=clip)
    mixed = getattr(b, kind)(model1=first.MODEL, model2=second.MODEL, id="mix", **shares)
    latent = b.EmptyLatentImage(width=64, height=64)
    for id, model in (("alone", first.MODEL), ("mixed", mixed)):
        options = {"positive": text, "negative": text, "latent_image": latent, "steps": 1}
        b.KSampler(model=model, id=id, **options)
    return b.graph


@pytest.mark.parametrize(
    ("kind", "shares", "same"),
    [
        ("ModelMergeSimple", {"ratio": 0.5}, True),
        ("ModelMergeBlocks", {"input": 0.2, "middle": 0.4, "out": 0.6}, True),
        ("ModelMergeAdd", {}, False),
        ("ModelMergeSubtract", {"multiplier": 2.0}, False),
    ],
)
def test_merging_a_model_with_itself_gives_the_model(
    kind: str, shares: dict[str, float], same: bool, engine: Engine
) -> None:
    result = engine.run(merge_graph(kind, **shares), targets=["alone", "mixed"])
    assert result.errors == ()
    alone, mixed = (result[id].samples for id in ("alone", "mixed"))
    assert torch.allclose(alone, mixed, atol=1e-4) is same


def test_models_of_other_families_are_rejected_before_anything_runs(engine: Engine) -> None:
    graph = merge_graph("ModelMergeSimple").set("second.ckpt_name", "wide")
    wrong = [problem.node for problem in engine.check(graph) if problem.kind == "wrong_family"]
    assert "mix" in wrong
