"""UNets of other widths, such as the demo model's: a family of their own for each text width."""

from __future__ import annotations

from dataclasses import replace

from .family import Family, NetworkFile
from .refiner import REFINER
from .sdxl import SDXL
from .unet import UNET, refine_family, unet_family
from .unet_keys import SIZE_DIM

# Numbers that SDXL's refiner takes: image size, crop position and aesthetic score.
SCORE_NUMBERS = 5


def recognize(file: NetworkFile) -> Family | None:
    """Return a family named after the text width, with the extra conditioning of the UNet."""
    config = file.network.config
    family = family_of_width(config["cross_attention_dim"])
    vector = config.get("projection_class_embeddings_input_dim")
    if vector is not None:
        pooled = file.text_widths[-1] if file.text_widths else 0
        similar = REFINER if vector - pooled == SCORE_NUMBERS * SIZE_DIM else SDXL
        family = replace(similar, name=family.name, text_dim=family.text_dim)
    return refine_family(family, file)


def family_of_width(text_dim: int) -> Family:
    """Return a family named after its text width."""
    return unet_family(f"sd-{text_dim}", text_dim=text_dim)


OTHER_UNET = Family("sd-other", UNET, recognize)
