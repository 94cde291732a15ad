"""Text encoding: prompts to conditioning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, Conditioning, EncodedPrompt, GuidanceNumber

READABLE = "a prompt that can be read"
SizeInput = Annotated[int, Between(0, 16_384)]
Score = Annotated[float, Between(0.0, 1000.0, step=0.01)]


@node("CLIPTextEncode", category="model/conditioning", device=True)
class CLIPTextEncode:
    """Encode a prompt.

    Args:
        text: the prompt; `(x:1.2)` weights x, `embedding:name` inserts the vectors of an
            embedding, long prompts are encoded in chunks of 75 tokens.
        clip: the text encoder.

    Raises:
        InputError: the prompt is too long or nested too deep.

    Source: ComfyUI's CLIPTextEncode.
    """

    @staticmethod
    def run(text: EncodedPrompt, clip: Clip) -> Conditioning:
        from latentloom.diffusion.conditioning.text import encode_text

        with as_input_error("text", READABLE):
            return encode_text(clip, text)

    @staticmethod
    def check(text: str) -> None:
        _check(text=text)

    @staticmethod
    def reads(text: str | None) -> Mapping[str, Path]:
        return _files(text=text)


@node("CLIPTextEncodeSDXL", category="model/conditioning/stable diffusion", device=True)
class CLIPTextEncodeSDXL:
    """Encode a prompt for each text encoder of SDXL, with its size conditioning.

    Args:
        clip: the text encoders.
        width, height: size of the original image; small values give a blurred image.
        crop_w, crop_h: pixels cropped at its left and at its top.
        target_width, target_height: size of the cropped image.
        text_g: the prompt for the larger encoder, OpenCLIP-G.
        text_l: the prompt for the smaller encoder, CLIP-L.

    Raises:
        InputError: a prompt cannot be read, or the model has another encoder.

    Source: ComfyUI's CLIPTextEncodeSDXL.
    """

    @staticmethod
    def run(
        *,
        clip: Clip,
        width: SizeInput = 1024,
        height: SizeInput = 1024,
        crop_w: SizeInput = 0,
        crop_h: SizeInput = 0,
        target_width: SizeInput = 1024,
        target_height: SizeInput = 1024,
        text_g: EncodedPrompt,
        text_l: EncodedPrompt,
    ) -> Conditioning:
        from latentloom.diffusion.conditioning.text import encode_prompts
        from latentloom.diffusion.families.conditions import Sizes

        sizes = Sizes(width, height, crop_w, crop_h, target_width, target_height)
        with as_input_error("text_g", READABLE):
            return encode_prompts(clip, {"l": text_l, "g": text_g}, sizes)

    @staticmethod
    def check(text_g: str, text_l: str) -> None:
        _check(text_g=text_g, text_l=text_l)

    @staticmethod
    def reads(text_g: str | None, text_l: str | None) -> Mapping[str, Path]:
        return _files(text_g=text_g, text_l=text_l)


@node("CLIPTextEncodeSDXLRefiner", category="model/conditioning/stable diffusion", device=True)
class CLIPTextEncodeSDXLRefiner:
    """Encode a prompt for the refiner of SDXL, with an aesthetic score.

    Args:
        ascore: aesthetic score; about 6 for the positive side, 2.5 for the negative.
        width, height: size of the original image.
        text: the prompt.
        clip: the text encoder.

    Raises:
        InputError: the prompt cannot be read.

    Source: ComfyUI's CLIPTextEncodeSDXLRefiner.
    """

    @staticmethod
    def run(
        *,
        ascore: Score = 6.0,
        width: SizeInput = 1024,
        height: SizeInput = 1024,
        text: EncodedPrompt,
        clip: Clip,
    ) -> Conditioning:
        from latentloom.diffusion.conditioning.text import encode_text
        from latentloom.diffusion.families.conditions import Sizes

        with as_input_error("text", READABLE):
            return encode_text(clip, text, Sizes(width, height, score=ascore))

    @staticmethod
    def check(text: str) -> None:
        _check(text=text)

    @staticmethod
    def reads(text: str | None) -> Mapping[str, Path]:
        return _files(text=text)


@node("CLIPTextEncodeFlux", category="model/conditioning/flux", device=True)
class CLIPTextEncodeFlux:
    """Encode a prompt for each text encoder of Flux.1, with guidance as a number.

    Args:
        clip: the text encoders.
        clip_l: the prompt for CLIP-L.
        t5xxl: the prompt for T5.
        guidance: for distilled models, instead of CFG.

    Raises:
        InputError: a prompt cannot be read, or the model has other text encoders.

    Source: ComfyUI's CLIPTextEncodeFlux.
    """

    @staticmethod
    def run(
        clip: Clip, clip_l: EncodedPrompt, t5xxl: EncodedPrompt, guidance: GuidanceNumber = 3.5
    ) -> Conditioning:
        from latentloom.diffusion.conditioning.conditioning import with_guidance
        from latentloom.diffusion.conditioning.text import encode_prompts

        with as_input_error("t5xxl", READABLE):
            return with_guidance(encode_prompts(clip, {"l": clip_l, "t5xxl": t5xxl}), guidance)

    @staticmethod
    def check(clip_l: str, t5xxl: str) -> None:
        _check(clip_l=clip_l, t5xxl=t5xxl)

    @staticmethod
    def reads(clip_l: str | None, t5xxl: str | None) -> Mapping[str, Path]:
        return _files(clip_l=clip_l, t5xxl=t5xxl)


def _check(**prompts: str) -> None:
    """Raise InputError for a prompt that cannot be read."""
    from latentloom.diffusion.text.prompt import parse_weights

    for port, text in prompts.items():
        with as_input_error(port, READABLE):
            parse_weights(text)


def _files(**prompts: str | None) -> dict[str, Path]:
    """Return the embedding files that prompts name; all of them for a prompt not known yet."""
    if all(text is not None and "embedding:" not in text for text in prompts.values()):
        return {}
    from latentloom.diffusion.text.prompt import find_embedding_names
    from latentloom.diffusion.weights.folders import find_embedding, list_models

    names: set[str] = set()
    for port, text in prompts.items():
        with as_input_error(port, READABLE):
            names |= {*list_models("embeddings")} if text is None else find_embedding_names(text)
    paths = {name: find_embedding(name) for name in names}
    return {f"embedding {name}": path for name, path in paths.items() if path is not None}
