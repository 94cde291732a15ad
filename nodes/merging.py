"""Models and text encoders mixed out of two; the mixing is done when they are used."""

from __future__ import annotations

from latentloom.engine.node.spec import node

from .ports import Clip, Model, Multiplier, Share

MERGING = "advanced/model_merging"


@node("ModelMergeSimple", category=MERGING)
def model_merge_simple(model1: Model, model2: Model, ratio: Share = 1.0) -> Model:
    """Mix two models of one family, weight by weight, each with its LoRAs.

    What the second lacks or has in another shape stays as the first has it.

    Args:
        model1: the first; its sampling and its other patches are those of the mix.
        model2: the second.
        ratio: share of the first; 1 is the first alone.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(model1, model2, ratio, ratio, ratio)


@node("ModelMergeBlocks", category=MERGING)
def model_merge_blocks(
    model1: Model, model2: Model, input: Share = 1.0, middle: Share = 1.0, out: Share = 1.0
) -> Model:
    """Mix two models of one family with shares of their own for three parts of the network.

    Args:
        model1: the first; its sampling and its other patches are those of the mix.
        model2: the second.
        input: share of the first up to the middle block, and of what it is told of time and size.
        middle: share of the first in the middle block.
        out: share of the first from there to the output.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(model1, model2, input, middle, out)


@node("ModelMergeAdd", category=MERGING)
def model_merge_add(model1: Model, model2: Model) -> Model:
    """Add a model to another, such as what ModelMergeSubtract gives to an inpainting model.

    Args:
        model1: the first; what the second lacks or has in another shape stays as it is here.
        model2: what is added.
    """
    from latentloom.diffusion.networks.merging import add

    return add(model1, model2)


@node("ModelMergeSubtract", category=MERGING)
def model_merge_subtract(model1: Model, model2: Model, multiplier: Multiplier = 1.0) -> Model:
    """What a model has learned beyond another: their difference.

    Args:
        model1: the model.
        model2: what it was made from.
        multiplier: what the difference is multiplied with.
    """
    from latentloom.diffusion.networks.merging import subtract

    return subtract(model1, model2, multiplier)


@node("CLIPMergeSimple", category=MERGING)
def clip_merge_simple(clip1: Clip, clip2: Clip, ratio: Share = 1.0) -> Clip:
    """Mix two text encoders of one family, weight by weight, each with its LoRAs.

    Args:
        clip1: the first; its tokenizer and layer are those of the mix.
        clip2: the second.
        ratio: share of the first; 1 is the first alone.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(clip1, clip2, ratio, ratio, ratio)


@node("CLIPMergeAdd", category=MERGING)
def clip_merge_add(clip1: Clip, clip2: Clip) -> Clip:
    """Add a text encoder to another, such as what CLIPMergeSubtract gives.

    Args:
        clip1: the first.
        clip2: what is added.
    """
    from latentloom.diffusion.networks.merging import add

    return add(clip1, clip2)


@node("CLIPMergeSubtract", category=MERGING)
def clip_merge_subtract(clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0) -> Clip:
    """The difference of two text encoders.

    Args:
        clip1: the text encoder.
        clip2: what it was made from.
        multiplier: what the difference is multiplied with.
    """
    from latentloom.diffusion.networks.merging import subtract

    return subtract(clip1, clip2, multiplier)
