"""Latents that are sampled as one batch are what each is alone, in fewer model calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import latentloom
from latentloom.engine.execution.executor import Engine
from latentloom.engine.node.context import Context
from latentloom.nodes.sampling import KSampler

# Rounding of sums in another order, over a run of steps; relative to the spread of the latent.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, Any]]:
    b = latentloom.build()
    loaded = b.CheckpointLoaderSimple(ckpt_name="demo")
    ids = {
        "positive": b.CLIPTextEncode(text="a red house", clip=loaded.CLIP),
        "other": b.CLIPTextEncode(text="a small lake in winter", clip=loaded.CLIP),
        "negative": b.CLIPTextEncode(text="", clip=loaded.CLIP),
        "latent_image": b.EmptyLatentImage(width=64, height=64, batch_size=2),
    }
    names = {name: output.id for name, output in ids.items()}
    with Engine(latentloom.registry()) as engine:
        result = engine.run(b.graph, targets=[loaded.id, *names.values()])
        values = {name: result[id] for name, id in names.items()}
        yield {**values, "model": result[loaded.id].MODEL}


def call_of(parts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {
        "seed": 1, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal",
        "denoise": 1.0,
    }  # fmt: skip
    values = {name: value for name, value in parts.items() if name != "other"}
    return {**values, **settings, **changes}


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m", "euler_cfg_pp"])
def test_a_batch_gives_what_each_call_gives(sampler: str, parts: dict[str, Any]) -> None:
    changes: list[dict[str, Any]] = [{}, {"seed": 2}, {"cfg": 7.0}, {"positive": parts["other"]}]
    calls = [call_of(parts, sampler_name=sampler, **change) for change in changes]
    assert len({KSampler.alike(**call) for call in calls}) == 1
    together, single = Context(), Context()
    batch = KSampler.together(calls, together)
    alone = [KSampler.run(**call, context=single) for call in calls]
    assert single.model_calls == 4 * together.model_calls
    for own, other in zip(batch, alone, strict=True):
        distance = (own.samples - other.samples).abs().max() / other.samples.std()
        assert float(distance) < TOLERANCE
        assert own.passes[-1].model_calls == other.passes[-1].model_calls
    spread = [float((latent.samples - batch[0].samples).std()) for latent in batch[1:]]
    assert min(spread) > 0.01


@pytest.mark.parametrize(
    "change",
    [
        {"sampler_name": "dpmpp_sde"},
        {"sampler_name": "dpm_adaptive"},
        {"sampler_name": "sa_solver"},
    ],
)
def test_what_draws_or_adapts_for_all_of_a_batch_is_alone(
    change: dict[str, Any], parts: dict[str, Any]
) -> None:
    assert KSampler.alike(**call_of(parts, **change)) is None


@pytest.mark.parametrize("change", [{"steps": 4}, {"denoise": 0.5}, {"cfg": 1.0}])
def test_calls_of_other_schedules_are_not_alike(
    change: dict[str, Any], parts: dict[str, Any]
) -> None:
    first, second = KSampler.alike(**call_of(parts)), KSampler.alike(**call_of(parts, **change))
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_batch_has_a_limited_size(parts: dict[str, Any]) -> None:
    alike = KSampler.alike(**call_of(parts))
    assert alike is not None
    assert alike.limit == 8
    latent = parts["latent_image"]
    large = replace(latent, samples=torch.zeros(1, 4, 256, 256))
    assert KSampler.alike(**call_of(parts, latent_image=large)) is None
