"""LoRA nodes in the engine: checks before the run, cache keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph

LAYER = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
TEXT = "lora_te_text_model_encoder_layers_1_self_attn_q_proj"


def write_lora(path: Path, seed: int, text_dim: int = 32) -> None:
    """Write a LoRA of rank 2 for one layer of the UNet and one of the text encoder."""
    torch.manual_seed(seed)
    shapes = {
        f"{LAYER}.lora_up.weight": (64, 2),
        f"{LAYER}.lora_down.weight": (2, text_dim),
        f"{TEXT}.lora_up.weight": (text_dim, 2),
        f"{TEXT}.lora_down.weight": (2, text_dim),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, path)


@pytest.fixture(scope="module", autouse=True)
def loras(models: Path) -> None:
    """Write two LoRAs for `tiny`, and one of another family."""
    write_lora(models / "loras" / "one.safetensors", 1)
    write_lora(models / "loras" / "style" / "two.safetensors", 2)
    write_lora(models / "loras" / "wide.safetensors", 3, text_dim=64)


def lora_graph(*loras: tuple[str, float, float]) -> Graph:
    """Build txt2img with these LoRAs; node ids model, lora0, lora1, ..., sample."""
    builder = latentloom.build()
    model, clip, _ = builder.CheckpointLoaderSimple(ckpt_name="tiny", id="model")
    latent = builder.EmptyLatentImage(model=model)
    for index, (name, strength, clip_strength) in enumerate(loras):
        model, clip = builder.LoraLoader(
            model=model,
            clip=clip,
            lora_name=name,
            strength_model=strength,
            strength_clip=clip_strength,
            id=f"lora{index}",
        )
    builder.KSampler(
        model=model,
        positive=builder.CLIPTextEncode(text="a fox", clip=clip, id="positive"),
        negative=builder.CLIPTextEncode(text="", clip=clip),
        latent_image=latent,
        steps=2,
        id="sample",
    )
    return builder.graph


def image(engine: Engine, *loras: tuple[str, float, float]) -> torch.Tensor:
    result = engine.run(lora_graph(*loras), targets=["sample"])
    assert result.errors == ()
    samples: torch.Tensor = result["sample"].samples
    return samples


def test_both_strengths_apply_and_0_is_off(engine: Engine) -> None:
    plain = image(engine)
    model_only = image(engine, ("one.safetensors", 0.8, 0.0))
    clip_only = image(engine, ("one.safetensors", 0.0, 0.8))
    assert torch.equal(image(engine, ("one.safetensors", 0.0, 0.0)), plain)
    assert not torch.allclose(model_only, plain)
    assert not torch.allclose(clip_only, plain)
    assert not torch.allclose(model_only, clip_only)


def test_the_base_model_is_unchanged_afterwards(engine: Engine) -> None:
    plain = image(engine)
    image(engine, ("one.safetensors", 1.0, 1.0), ("style/two.safetensors", -1.0, 0.5))
    engine.cache.clear()
    assert torch.equal(image(engine), plain)


def test_a_changed_strength_reruns_only_its_dependents(engine: Engine) -> None:
    engine.run(lora_graph(("one.safetensors", 1.0, 1.0)), targets=["sample"])
    result = engine.run(lora_graph(("one.safetensors", 0.5, 1.0)), targets=["sample"])
    states = {name: node.state for name, node in result.nodes.items()}
    assert (states["model"], states["positive"]) == ("reused", "reused")
    assert (states["lora0"], states["sample"]) == ("ran", "ran")


def test_the_error_for_a_lora_of_another_family_names_both(engine: Engine) -> None:
    with pytest.raises(GraphError) as caught:
        engine.run(lora_graph(("wide.safetensors", 1.0, 1.0)), targets=["sample"])
    (problem,) = caught.value.problems
    assert (problem.node, problem.kind, problem.port) == ("lora0", "wrong_family", "lora_name")
    assert problem.expected == "family sd-32 (as model from CheckpointLoaderSimple (model))"
    assert problem.got == "'wide.safetensors', of family sd-64"


def test_a_lora_can_apply_to_the_model_only(engine: Engine) -> None:
    graph = lora_graph()
    graph = graph.add(
        "lora",
        "LoraLoaderModelOnly",
        model=latentloom.Link("model", "MODEL"),
        lora_name="one.safetensors",
        strength_model=0.8,
    ).set("sample.model", latentloom.Link("lora", 0))
    got = engine.run(graph, targets=["sample"])["sample"].samples
    assert torch.equal(got, image(engine, ("one.safetensors", 0.8, 0.0)))


def test_another_kind_of_file_is_rejected_before_the_run(engine: Engine, models: Path) -> None:
    save_file({"a": torch.zeros(1)}, models / "loras" / "other.safetensors")
    problems = engine.check(lora_graph(("other.safetensors", 1.0, 1.0)))
    assert any("other.safetensors holds no LoRA" in str(problem) for problem in problems)
