"""Patch nodes in the engine: each samples, and cache keys depend on their values."""

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


def sample_patched(engine: Engine, *chain: tuple[str, dict[str, Any]]) -> torch.Tensor:
    """Sample txt2img on a model patched by these nodes."""
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
        ("APG", {"norm_threshold": 1.0}),
        ("TCFG", {}),
        ("CFGZeroStar", {}),
        ("CFGNorm", {"strength": 0.9}),
        ("RenormCFG", {}),
        ("CFGOverride", {"cfg": 2.0}),
        ("Epsilon Scaling", {"scaling_factor": 1.1}),
        ("TemporalScoreRescaling", {}),
        ("UNetCrossAttentionMultiply", {"v": 1.5}),
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
    plain, got = sample_patched(engine), sample_patched(engine, (name, options))
    assert bool(torch.isfinite(got).all())
    assert not torch.allclose(got, plain, atol=1e-3 * float(plain.std()))
    engine.cache.clear()
    assert torch.equal(sample_patched(engine), plain)


def test_a_changed_value_changes_the_result(engine: Engine) -> None:
    half, full = (sample_patched(engine, ("RescaleCFG", {"multiplier": at})) for at in (0.5, 1.0))
    assert not torch.equal(half, full)


def test_patches_add_up(engine: Engine) -> None:
    both = sample_patched(engine, ("FreeU_V2", {}), ("RescaleCFG", {}))
    assert not torch.equal(both, sample_patched(engine, ("FreeU_V2", {})))
    assert not torch.equal(both, sample_patched(engine, ("RescaleCFG", {})))


@pytest.mark.parametrize("kind", ["edm_playground_v2.5", "cosmos_rflow"])
def test_an_unsupported_prediction_type_is_rejected(kind: str) -> None:
    with pytest.raises(InputError, match=r"sampling"):
        ModelSamplingContinuousEDM.check(kind, 120.0, 0.002)


@pytest.mark.parametrize("ends", [(0.0, 0.0), (1.0, 1.0), (1.0, 2.0), (5.0, 0.0)])
def test_a_reversed_sigma_range_is_rejected(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"sigma_min"):
        ModelSamplingContinuousEDM.check("edm", *ends)


def test_patching_does_not_change_the_input_handle(models: Path) -> None:
    model = load_checkpoint(models / "tiny").model
    changed = patches.rescale_cfg(patches.free_u_v2(model))
    assert model.patches == ()
    assert [type(patch).__name__ for patch in changed.patches] == ["FreeU", "RescaleGuidance"]
    assert changed.weights is model.weights
