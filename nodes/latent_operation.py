"""Latent operations: values that are applied to latents or to a model's guidance."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import BlurSigma, KernelRadius, Latent, LatentOperation, Model, SharpenAlpha

CATEGORY = "model/latent/advanced/operations"
ToneMultiplier = Annotated[float, Between(0.01, 100.0, step=0.01)]


@node("LatentOperationTonemapReinhard", category=CATEGORY)
def latent_operation_tonemap_reinhard(multiplier: ToneMultiplier = 1.0) -> LatentOperation:
    """Create a Reinhard tone mapping of latents, which compresses high values.

    Args:
        multiplier: factor for the white point, the upper limit of the result; lower compresses
            more.
    """
    from latentloom.diffusion.patches.latent_operation import Tonemap

    return Tonemap(multiplier)


@node("LatentOperationSharpen", category=CATEGORY)
def latent_operation_sharpen(
    sharpen_radius: KernelRadius = 9, sigma: BlurSigma = 1.0, alpha: SharpenAlpha = 0.1
) -> LatentOperation:
    """Create a sharpening of latents by unsharp masking.

    Args:
        sharpen_radius: radius of the kernel in latent cells (8 pixels).
        sigma: standard deviation of the Gaussian, as a multiple of the radius.
        alpha: strength; 0.1 adds the difference from the blurred latent once.
    """
    from latentloom.diffusion.patches.latent_operation import Sharpen

    return Sharpen(sharpen_radius, sigma, alpha)


@node("LatentApplyOperation", category=CATEGORY)
def latent_apply_operation(samples: Latent, operation: LatentOperation) -> Latent:
    """Apply an operation to latents.

    Args:
        samples: latents B×C×h×w.
        operation: the operation, from a LatentOperation node.
    """
    return replace(samples, samples=operation(samples.samples))


@node("LatentApplyOperationCFG", category=CATEGORY)
def latent_apply_operation_cfg(model: Model, operation: LatentOperation) -> Model:
    """Apply an operation to the guidance (positive - negative prediction) at each step.

    Args:
        model: the model.
        operation: the operation, from a LatentOperation node.
    """
    from latentloom.diffusion.patches.latent_operation import OperatedGuidance

    return replace(model, patches=(*model.patches, OperatedGuidance(operation)))
