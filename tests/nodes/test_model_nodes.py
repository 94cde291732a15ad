"""Loaders, conditioning, sampling and VAE nodes through the engine, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.events import AnyEvent, Preview, Progress
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.cancel import CancelToken


def sampling(checkpoint: str = "tiny", **changes: Any) -> Graph:
    """txt2img on the tiny model: ids model, positive, negative, latent, sample, decode."""
    builder = latentloom.build()
    model, clip, vae = builder.CheckpointLoaderSimple(ckpt_name=checkpoint, id="model")
    positive = builder.CLIPTextEncode(text="a fox", clip=clip, id="positive")
    negative = builder.CLIPTextEncode(text="", clip=clip, id="negative")
    latent = builder.EmptyLatentImage(model=model, batch_size=2, id="latent")
    options = {"steps": 3, "cfg": 4.0, "seed": 5, **changes}
    sample = builder.KSampler(
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        id="sample",
        **options,
    )
    builder.VAEDecode(samples=sample, vae=vae, id="decode")
    return builder.graph


def test_a_graph_built_in_python_samples(engine: Engine) -> None:
    result = engine.run(sampling(), targets=["decode"])
    assert result.status == "done"
    assert result["decode"].shape == (2, 64, 64, 3)
    assert result.model_calls == 3


def test_the_same_seed_gives_the_same_image(engine: Engine) -> None:
    first = engine.run(sampling(), targets=["sample"])["sample"].samples
    engine.cache.clear()
    assert torch.equal(engine.run(sampling(), targets=["sample"])["sample"].samples, first)


def test_each_step_is_reported_with_a_preview(engine: Engine) -> None:
    events: list[AnyEvent] = []
    engine.run(sampling(seed=77), targets=["sample"], on_event=events.append)
    steps = [event.step for event in events if isinstance(event, Progress)]
    previews = [event.value.denoised.shape for event in events if isinstance(event, Preview)]
    assert steps == [1, 2, 3]
    assert previews == [(2, 4, 8, 8)] * 3


def test_a_cancel_stops_within_one_step(engine: Engine) -> None:
    token = CancelToken()

    def stop(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.step == 2:
            token.cancel()

    result = engine.run(
        sampling(seed=78, steps=500), targets=["sample"], on_event=stop, cancel=token
    )
    assert result.status == "cancelled"
    assert result.model_calls < 100


def test_a_vae_of_another_family_is_rejected_with_both_named(engine: Engine) -> None:
    graph = sampling().add("other", "VAELoader", vae_name="wide")
    builder_link = graph.nodes["decode"].inputs["samples"]
    graph = graph.add(
        "decode", "VAEDecode", samples=builder_link, vae=latentloom.Link("other", "VAE")
    )
    with pytest.raises(GraphError) as caught:
        engine.run(graph, targets=["decode"])
    (problem,) = caught.value.problems
    assert problem.kind == "wrong_family"
    assert "sd-32" in problem.expected
    assert problem.got == "family sd-64"


def test_a_prompt_encoded_for_another_model_is_rejected(engine: Engine) -> None:
    graph = sampling().add("other", "CheckpointLoaderSimple", ckpt_name="wide")
    graph = graph.set("positive.clip", latentloom.Link("other", "CLIP"))
    problems = engine.check(graph)
    assert [(p.kind, p.node) for p in problems if p.kind == "wrong_family"] == [
        ("wrong_family", "sample")
    ]


def test_an_unknown_checkpoint_lists_what_is_installed(engine: Engine) -> None:
    problems = engine.check(sampling().set("model.ckpt_name", "tinny"))
    (problem,) = [p for p in problems if p.node == "model"]
    assert "tiny" in problem.expected
    assert problem.hint == "did you mean 'tiny'?"


def test_a_prompt_that_cannot_be_read_is_refused_before_anything_runs(engine: Engine) -> None:
    graph = sampling().set("positive.text", "(" * 99 + "a" + ")" * 99)
    with pytest.raises(GraphError, match=r"^CLIPTextEncode \(positive\) \.text: expected"):
        engine.run(graph, targets=["positive"])


def test_a_changed_embedding_is_read_again(engine: Engine, models: Path) -> None:
    (models / "embeddings").mkdir()
    graph = sampling().set("positive.text", "a embedding:look")
    first = engine.run(graph, targets=["positive"])["positive"][0].tokens
    plan = engine.plan(graph, targets=["positive"])
    assert plan.nodes["positive"].action == "reuse"
    save_file({"emb_params": torch.ones(1, 32)}, models / "embeddings" / "look.safetensors")
    plan = engine.plan(graph, targets=["positive"])
    assert str(plan.nodes["positive"].why) == "file embedding look changed"
    second = engine.run(graph, targets=["positive"])["positive"][0].tokens
    assert not torch.equal(first, second)


def test_an_advanced_sampler_in_two_parts_is_one_run(engine: Engine) -> None:
    graph = sampling(sampler_name="euler", scheduler="normal", steps=4)
    link, shared = latentloom.Link, dict(graph.nodes["sample"].inputs)
    for name in ("seed", "denoise"):
        shared.pop(name, None)
    shared |= {"noise_seed": 5}
    first = {"end_at_step": 2, "return_with_leftover_noise": "enable"}
    second = {"start_at_step": 2, "add_noise": "disable", "latent_image": link("first", 0)}
    graph = graph.add("first", "KSamplerAdvanced", **{**shared, **first})
    graph = graph.add("second", "KSamplerAdvanced", **{**shared, **second})
    result = engine.run(graph, targets=["sample", "second"])
    full, parts = result["sample"].samples, result["second"].samples
    assert torch.allclose(full, parts, atol=1e-3 * float(full.std()))


@pytest.mark.parametrize(
    ("type_name", "inputs"),
    [
        ("ConditioningCombine", {"conditioning_1": "p", "conditioning_2": "n"}),
        ("ConditioningConcat", {"conditioning_to": "p", "conditioning_from": "n"}),
        (
            "ConditioningAverage",
            {"conditioning_to": "p", "conditioning_from": "n", "conditioning_to_strength": 0.3},
        ),
        ("ConditioningZeroOut", {"conditioning": "p"}),
        ("ConditioningSetTimestepRange", {"conditioning": "p", "start": 0.2, "end": 0.8}),
    ],
)
def test_every_conditioning_samples_and_changes_the_image(
    engine: Engine, type_name: str, inputs: dict[str, Any]
) -> None:
    origins = {"p": latentloom.Link("positive", 0), "n": latentloom.Link("negative", 0)}
    values = {name: origins.get(value, value) for name, value in inputs.items()}
    graph = sampling().add("changed", type_name, **values)
    graph = graph.set("sample.positive", latentloom.Link("changed", 0))
    plain = engine.run(sampling(), targets=["sample"])["sample"].samples
    got = engine.run(graph, targets=["sample"])["sample"].samples
    assert bool(torch.isfinite(got).all())
    assert not torch.equal(got, plain)


def test_an_earlier_layer_changes_the_encoding_and_not_the_handle(engine: Engine) -> None:
    graph = sampling().add(
        "skip", "CLIPSetLastLayer", clip=latentloom.Link("model", "CLIP"), stop_at_clip_layer=-2
    )
    graph = graph.set("positive.clip", latentloom.Link("skip", 0))
    plain = engine.run(sampling(), targets=["positive"])["positive"]
    got = engine.run(graph, targets=["positive"])["positive"]
    assert not torch.equal(got[0].tokens, plain[0].tokens)
    again = engine.run(sampling(), targets=["positive"])["positive"]
    assert torch.equal(again[0].tokens, plain[0].tokens)


def test_tiled_nodes_match_the_plain_ones_on_one_tile(engine: Engine) -> None:
    graph = sampling().add(
        "tiled",
        "VAEDecodeTiled",
        samples=latentloom.Link("sample", 0),
        vae=latentloom.Link("model", "VAE"),
        overlap=0,
    )
    result = engine.run(graph, targets=["decode", "tiled"])
    assert torch.allclose(result["decode"], result["tiled"], atol=1e-5)


def test_an_overlap_as_wide_as_a_tile_is_rejected(engine: Engine) -> None:
    link = latentloom.Link
    graph = sampling().add(
        "encode",
        "VAEEncodeTiled",
        pixels=link("decode", 0),
        vae=link("model", "VAE"),
        tile_size=64,
        overlap=64,
    )
    (error,) = engine.run(graph, targets=["encode"]).errors
    message = "VAEEncodeTiled (encode) .overlap: expected less than 32, got 64\n  inputs:  "
    assert str(error).startswith(f"{message}pixels=Tensor(2, 64, 64, 3), vae=Vae, tile_size=64")


def test_a_rerun_loads_nothing(engine: Engine) -> None:
    engine.run(sampling(), targets=["decode"])
    result = engine.run(sampling(seed=99), targets=["decode"])
    assert result.nodes["model"].state == "reused"
