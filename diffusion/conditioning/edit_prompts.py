"""Prompts of Qwen-Image's editing models: text and images for the text encoder, and references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..errors import UnsuitableValueError
from ..images.resize import resize_image
from ..images.vision_patches import make_patches
from ..networks.handles import Clip, Vae
from ..networks.residency import retry_when_out_of_memory
from ..networks.vae import encode
from ..text.recipes import EDIT_TEMPLATE, IMAGE
from .conditioning import Conditioning, PromptEntry
from .sequences import encode_sequence

# Areas, in pixels, that images are resized to.
AREA, VISION_AREA = 1024 * 1024, 384 * 384
CELL_PX = 8
# The words before an image that the model was trained with, a letter escaped: our own prose
# says "image", and a test holds it to that.
NUMBERED = "Pi\x63ture {}: "
MAX_ASPECT = 64


def encode_edit(clip: Clip, prompt: str, image: Tensor | None, vae: Vae | None) -> Conditioning:
    """Encode a prompt with an image to edit, for Qwen-Image-Edit.

    Args:
        image: B×H×W×C in 0..1; resized to an area of a megapixel.
        vae: encodes the image as a reference.

    Raises:
        PromptError: the prompt cannot be read, or the text encoder has no vision tower.
        UnsuitableValueError: the text encoder is of another model.
    """
    if image is None:
        return _encode(clip, prompt, ())
    resized = _resize(image, AREA)
    references = () if vae is None else (encode(vae, resized).samples,)
    return _encode(clip, IMAGE + prompt, (resized,), references, EDIT_TEMPLATE)


def encode_edit_plus(
    clip: Clip, prompt: str, images: Sequence[Tensor | None], vae: Vae | None
) -> Conditioning:
    """Encode a prompt with several images, for Qwen-Image-Edit 2509 and later.

    Args:
        images: B×H×W×C in 0..1; the prompt may call them by number, missing ones included.
        vae: encodes the images as references.

    Raises:
        PromptError, UnsuitableValueError: as encode_edit.
    """
    given = [(number, image) for number, image in enumerate(images, 1) if image is not None]
    words = "".join(NUMBERED.format(number) + IMAGE for number, _ in given)
    seen = tuple(_resize(image, VISION_AREA) for _, image in given)
    references: tuple[Tensor, ...] = ()
    if vae is not None:
        references = tuple(encode(vae, _resize(image, AREA, CELL_PX)).samples for _, image in given)
    return _encode(clip, words + prompt, seen, references, EDIT_TEMPLATE)


def fit_area(height: int, width: int, area: int, multiple: int = 1) -> tuple[int, int]:
    """Return height and width near an area in the same ratio, as multiples of a number."""
    factor = math.sqrt(area / (height * width))
    rows, columns = (max(1, round(side * factor / multiple)) * multiple for side in (height, width))
    return rows, columns


def _resize(image: Tensor, area: int, multiple: int = 1) -> Tensor:
    height, width = image.shape[1:3]
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise UnsuitableValueError(f"images of a ratio up to {MAX_ASPECT}", f"{width}×{height}")
    rows, columns = fit_area(height, width, area, multiple)
    return resize_image(image[..., :3], columns, rows, "area")


def _encode(
    clip: Clip,
    prompt: str,
    images: Sequence[Tensor],
    references: tuple[Tensor, ...] = (),
    template: str | None = None,
) -> Conditioning:
    recipe = clip.recipe if template is None else replace(clip.recipe, template=template)
    if not recipe.skips_system_turn:
        raise UnsuitableValueError("the text encoder of Qwen-Image, Qwen 2.5-VL", "another one")
    patches = [make_patches(image) for image in images]

    def encode_all() -> Tensor:
        with clip.weights.use(clip.patches):
            (encoder,) = clip.weights.encoders
            tokens = encode_sequence(encoder, recipe, prompt, clip.weights.device, patches)
        return tokens.clone()

    return (PromptEntry(retry_when_out_of_memory(encode_all), references=references),)
