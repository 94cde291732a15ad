"""Patch nodes through the engine: every one samples, and the cache tells their values apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import latentloom
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.nodes import patches
from latentloom.nodes.model_sampling import ModelSamplingContinuousEDM


def sampled(engine: Engine, *chain: tuple[str, dict[str, Any]]) -> torch.Tensor:
    """txt2img on a model that goes through these nodes."""
    builder = latentloom.build()
    model, clip, _ = builder.CheckpointLoaderSimple(ckpt_name="tiny")
    latent = builder.EmptyLatentImage(model=model)
    for name, options in chain:
        model = getattr(builder, name)(model=model, **options)
    builder.KSampler(
        model=model,
        positive=builder.CLIPTextEncode(text="a fox", clip=clip),
        negative=builder.CLIPTextEncode(text="", clip=clip),
        latent_image=latent,
        steps=2,
        id="sample",
    )
    result = engine.run(builder.graph, targets=["sample"])
    assert result.errors == ()
    samples: torch.Tensor = result["sample"].samples
    return samples


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RescaleCFG", {}),
        ("PerturbedAttentionGuidance", {}),
        ("SelfAttentionGuidance", {}),
        ("FreeU", {}),
        ("FreeU_V2", {}),
        ("UNetSelfAttentionMultiply", {"q": 1.5}),
        ("FreSca", {"freq_cutoff": 2}),
        ("PatchModelAddDownscale", {}),
        ("Mahiro", {}),
        ("ModelSamplingDiscrete", {"sampling": "v_prediction"}),
        ("ModelSamplingDiscrete", {"sampling": "x0"}),
        ("ModelSamplingDiscrete", {"zsnr": True}),
        ("ModelSamplingDiscrete", {"sampling": "img_to_img"}),
        ("ModelSamplingContinuousEDM", {"sampling": "edm"}),
        ("ModelSamplingContinuousEDM", {"sampling": "eps", "sigma_max": 14.0}),
        ("ModelSamplingSD3", {"shift": 2.0}),
        ("ModelSamplingAuraFlow", {}),
        ("ModelSamplingFlux", {"width": 512, "height": 768}),
    ],
)
def test_a_patched_model_samples_another_image(
    engine: Engine, name: str, options: dict[str, Any]
) -> None:
    plain, got = sampled(engine), sampled(engine, (name, options))
    assert bool(torch.isfinite(got).all())
    assert not torch.allclose(got, plain, atol=1e-3 * float(plain.std()))
    engine.cache.clear()
    assert torch.equal(sampled(engine), plain)


def test_a_changed_value_is_another_model(engine: Engine) -> None:
    half, full = (sampled(engine, ("RescaleCFG", {"multiplier": at})) for at in (0.5, 1.0))
    assert not torch.equal(half, full)


def test_patches_add_up(engine: Engine) -> None:
    both = sampled(engine, ("FreeU_V2", {}), ("RescaleCFG", {}))
    assert not torch.equal(both, sampled(engine, ("FreeU_V2", {})))
    assert not torch.equal(both, sampled(engine, ("RescaleCFG", {})))


@pytest.mark.parametrize("kind", ["edm_playground_v2.5", "cosmos_rflow"])
def test_a_prediction_that_is_not_supported_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"sampling"):
        ModelSamplingContinuousEDM.check(kind, 120.0, 0.002)


@pytest.mark.parametrize("ends", [(0.0, 0.0), (1.0, 1.0), (1.0, 2.0), (5.0, 0.0)])
def test_ends_that_are_no_range_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"sigma_min"):
        ModelSamplingContinuousEDM.check("edm", *ends)


def test_patching_leaves_the_given_handle(models: Path) -> None:
    model = load_checkpoint(models / "tiny").model
    changed = patches.rescale_cfg(patches.free_u_v2(model))
    assert model.patches == ()
    assert [type(patch).__name__ for patch in changed.patches] == ["FreeU", "RescaleGuidance"]
    assert changed.weights is model.weights
