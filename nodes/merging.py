"""Model merging: models and text encoders merged from two, when they are used."""

from __future__ import annotations

from latentloom.engine.node.spec import node

from .ports import Clip, Model, Multiplier, Share

MERGING = "model/merging"


@node("ModelMergeSimple", category=MERGING)
def model_merge_simple(model1: Model, model2: Model, ratio: Share = 1.0) -> Model:
    """Merge two models of one family by linear interpolation of their weights.

    LoRAs are merged too. Weights that `model2` lacks, or has in another shape, are not changed.

    Args:
        model1: the first model; the result keeps its sampling settings and other patches.
        model2: the second model.
        ratio: weight of `model1`, 0 to 1.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(model1, model2, ratio, ratio, ratio)


@node("ModelMergeBlocks", category=MERGING)
def model_merge_blocks(
    model1: Model, model2: Model, input: Share = 1.0, middle: Share = 1.0, out: Share = 1.0
) -> Model:
    """Merge two models of one family with a separate ratio for three parts of the UNet.

    Args:
        model1: the first model; the result keeps its sampling settings and other patches.
        model2: the second model.
        input: weight of `model1` in the input blocks and the time and size embeddings, 0 to 1.
        middle: weight of `model1` in the middle block, 0 to 1.
        out: weight of `model1` in the output blocks, 0 to 1.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(model1, model2, input, middle, out)


@node("ModelMergeAdd", category=MERGING)
def model_merge_add(model1: Model, model2: Model) -> Model:
    """Add the weights of a model to another, such as the result of ModelMergeSubtract.

    Args:
        model1: the model to add to; weights that `model2` lacks, or has in another shape, are
            not changed.
        model2: the weights to add.
    """
    from latentloom.diffusion.networks.merging import add

    return add(model1, model2)


@node("ModelMergeSubtract", category=MERGING)
def model_merge_subtract(model1: Model, model2: Model, multiplier: Multiplier = 1.0) -> Model:
    """Subtract a model from another, to get what fine-tuning has changed.

    Args:
        model1: the fine-tuned model.
        model2: the model that it was made from.
        multiplier: factor for the difference, -10 to 10.
    """
    from latentloom.diffusion.networks.merging import subtract

    return subtract(model1, model2, multiplier)


@node("CLIPMergeSimple", category=MERGING)
def clip_merge_simple(clip1: Clip, clip2: Clip, ratio: Share = 1.0) -> Clip:
    """Merge two text encoders of one family by linear interpolation of their weights.

    Args:
        clip1: the first text encoder; the result keeps its tokenizer and last layer.
        clip2: the second text encoder.
        ratio: weight of `clip1`, 0 to 1.
    """
    from latentloom.diffusion.networks.merging import blend

    return blend(clip1, clip2, ratio, ratio, ratio)


@node("CLIPMergeAdd", category=MERGING)
def clip_merge_add(clip1: Clip, clip2: Clip) -> Clip:
    """Add the weights of a text encoder to another, such as the result of CLIPMergeSubtract.

    Args:
        clip1: the text encoder to add to.
        clip2: the weights to add.
    """
    from latentloom.diffusion.networks.merging import add

    return add(clip1, clip2)


@node("CLIPMergeSubtract", category=MERGING)
def clip_merge_subtract(clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0) -> Clip:
    """Subtract a text encoder from another.

    Args:
        clip1: the fine-tuned text encoder.
        clip2: the text encoder that it was made from.
        multiplier: factor for the difference, -10 to 10.
    """
    from latentloom.diffusion.networks.merging import subtract

    return subtract(clip1, clip2, multiplier)
