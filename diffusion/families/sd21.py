"""Stable Diffusion 2.x: a UNet that attends to OpenCLIP-H; some predict the velocity."""

from __future__ import annotations

from dataclasses import replace

from .family import Family, NetworkFile
from .unet import UNET, recognize_width

# The spread of these biases is the only difference between v and eps prediction.
BIAS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
MIN_V_SPREAD = 0.09


def recognize(file: NetworkFile) -> Family | None:
    """Return the family of a UNet with OpenCLIP-H's width, with its prediction."""
    family = recognize_width(SD21, file)
    if family is None or family.form or family.prediction != "eps" or not _predicts_v(file):
        return family
    return replace(family, prediction="v", native_size=768)


def _predicts_v(file: NetworkFile) -> bool:
    for theirs, ours in file.network.names.items():
        if ours == BIAS:
            numbers = file.read_floats(theirs)
            mean = sum(numbers) / len(numbers)
            variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
            return variance > MIN_V_SPREAD**2
    return False


SD21 = Family("sd21", UNET, recognize, text_dim=1024)
