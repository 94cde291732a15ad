"""Qwen-Image: prompts with images for its editing models."""

from __future__ import annotations

from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, Conditioning, Image, Prompt, Vae

CATEGORY = "model/conditioning/qwen image"
READABLE = "a prompt that can be read"


@node("TextEncodeQwenImageEdit", category=CATEGORY, device=True)
def text_encode_qwen_image_edit(
    clip: Clip, prompt: Prompt, vae: Vae | None = None, image: Image | None = None
) -> Conditioning:
    """Encode a prompt with an image to edit, for Qwen-Image-Edit.

    Args:
        clip: Qwen 2.5-VL with its vision tower.
        prompt: what to change.
        vae: encodes the image as a reference; without it only the text encoder sees the image.
        image: the image to edit; resized to an area of 1024×1024 pixels.

    Raises:
        InputError: the prompt is too long, or the text encoder is another one or cannot see.

    Source: ComfyUI's TextEncodeQwenImageEdit.
    """
    from latentloom.diffusion.conditioning.edit_prompts import encode_edit

    with as_input_error("prompt", READABLE):
        return encode_edit(clip, prompt, image, vae)


@node("TextEncodeQwenImageEditPlus", category=CATEGORY, device=True)
def text_encode_qwen_image_edit_plus(
    clip: Clip,
    prompt: Prompt,
    vae: Vae | None = None,
    image1: Image | None = None,
    image2: Image | None = None,
    image3: Image | None = None,
) -> Conditioning:
    """Encode a prompt with up to three images, for Qwen-Image-Edit 2509 and later.

    Args:
        clip: Qwen 2.5-VL with its vision tower.
        prompt: what to make; it may name the images by their numbers.
        vae: encodes the images as references, at an area of 1024×1024 pixels.
        image1, image2, image3: the images; the text encoder sees them at an area of 384×384.

    Raises:
        InputError: the prompt is too long, or the text encoder is another one or cannot see.

    Source: ComfyUI's TextEncodeQwenImageEditPlus.
    """
    from latentloom.diffusion.conditioning.edit_prompts import encode_edit_plus

    with as_input_error("prompt", READABLE):
        return encode_edit_plus(clip, prompt, (image1, image2, image3), vae)
