"""Operations on latents: as values, put to a latent, or to the guidance of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import BlurSigma, KernelRadius, Latent, LatentOperation, Model, SharpenAlpha

CATEGORY = "latent/advanced/operations"
ToneMultiplier = Annotated[float, Between(0.01, 100.0, step=0.01)]


@node("LatentOperationTonemapReinhard", category=CATEGORY)
def latent_operation_tonemap_reinhard(multiplier: ToneMultiplier = 1.0) -> LatentOperation:
    """Compress high values, as tone mapping does with light.

    Args:
        multiplier: of the value that none passes; lower compresses more.
    """
    from latentloom.diffusion.patches.latent_operation import Tonemap

    return Tonemap(multiplier)


@node("LatentOperationSharpen", category=CATEGORY)
def latent_operation_sharpen(
    sharpen_radius: KernelRadius = 9, sigma: BlurSigma = 1.0, alpha: SharpenAlpha = 0.1
) -> LatentOperation:
    """Sharpen what latents show.

    Args:
        sharpen_radius: of the kernel, in cells of 8 pixels.
        sigma: of its Gaussian, in cells.
        alpha: how much.
    """
    from latentloom.diffusion.patches.latent_operation import Sharpen

    return Sharpen(sharpen_radius, sigma, alpha)


@node("LatentApplyOperation", category=CATEGORY)
def latent_apply_operation(samples: Latent, operation: LatentOperation) -> Latent:
    """Put an operation to latents.

    Args:
        samples: latents B×C×h×w.
        operation: which.
    """
    return replace(samples, samples=operation(samples.samples))


@node("LatentApplyOperationCFG", category=CATEGORY)
def latent_apply_operation_cfg(model: Model, operation: LatentOperation) -> Model:
    """Put an operation to what guidance adds at each step.

    Args:
        model: is guided so.
        operation: which.
    """
    from latentloom.diffusion.patches.latent_operation import OperatedGuidance

    return replace(model, patches=(*model.patches, OperatedGuidance(operation)))
