"""Loaders of parts: a denoising model or text encoders in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, ClipFile, Model, UnetFile

WeightType = Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
Device = Literal["default", "cpu"]
ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart",
    "cosmos", "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image",
    "hunyuan_image",
]  # fmt: skip
DualClipType = Literal["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]
_UNET = "a file with a denoising network"
_CLIP = "a file with CLIP text encoders"


@node("UNETLoader", category="advanced/loaders", device=True)
class UNETLoader:
    """Load a denoising model alone, from `models/diffusion_models` or `models/unet`.

    Args:
        unet_name: name of an installed file, in the original code's keys or diffusers'.
        weight_dtype: fp8 rounds the weights to 8 bits; they are computed with as others are.

    Raises:
        InputError: it is damaged, or holds no denoising network.

    Source: ComfyUI's UNETLoader.
    """

    @staticmethod
    def run(unet_name: UnetFile, weight_dtype: WeightType = "default") -> Model:
        from latentloom.diffusion.networks.load import load_unet

        with as_input_error("unet_name", _UNET):
            return load_unet(unet_name, weight_dtype.removesuffix("_fast"))

    @staticmethod
    def check(unet_name: Path) -> None:
        from latentloom.diffusion.weights.single_file import read_checkpoint

        with as_input_error("unet_name", _UNET):
            read_checkpoint(unet_name)

    @staticmethod
    def family(unet_name: Path) -> str:
        from latentloom.diffusion.weights.single_file import detect_file_family

        with as_input_error("unet_name", _UNET):
            return detect_file_family(unet_name).name


@node("CLIPLoader", category="advanced/loaders", device=True)
class CLIPLoader:
    """Load a text encoder alone, from `models/text_encoders` or `models/clip`.

    Args:
        clip_name: name of an installed file; CLIP-L is SD1.5's, OpenCLIP-H SD2.1's, OpenCLIP-G
            that of SDXL's refiner.
        type: of the model that it is for.
        device: where it is computed; the default is where everything is.

    Raises:
        InputError: it is damaged, holds no such text encoder, or is for another kind of model.

    Source: ComfyUI's CLIPLoader.
    """

    @staticmethod
    def run(
        clip_name: ClipFile,
        type: ClipType = "stable_diffusion",  # noqa: ARG004 - `check` has read it
        device: Device = "default",
    ) -> Clip:
        from latentloom.diffusion.networks.load import load_clip

        with as_input_error("clip_name", _CLIP):
            return load_clip((clip_name,), on_cpu=device == "cpu")

    @staticmethod
    def check(clip_name: Path, type: str) -> None:
        if type != "stable_diffusion":
            raise InputError("type", "stable_diffusion (no other kind yet)", type)
        CLIPLoader.family(clip_name)

    @staticmethod
    def family(clip_name: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_clip_family

        with as_input_error("clip_name", _CLIP):
            return detect_clip_family((clip_name,)).name


@node("DualCLIPLoader", category="advanced/loaders", device=True)
class DualCLIPLoader:
    """Load SDXL's two text encoders from files of their own, in either order.

    Args:
        clip_name1, clip_name2: names of installed files, one with CLIP-L, one with OpenCLIP-G.
        type: of the model that they are for.
        device: where they are computed; the default is where everything is.

    Raises:
        InputError: one is damaged, they are not these two, or are for another kind of model.

    Source: ComfyUI's DualCLIPLoader.
    """

    @staticmethod
    def run(
        clip_name1: ClipFile,
        clip_name2: ClipFile,
        type: DualClipType = "sdxl",  # noqa: ARG004 - `check` has read it
        device: Device = "default",
    ) -> Clip:
        from latentloom.diffusion.networks.load import load_clip

        with as_input_error("clip_name1", _CLIP):
            return load_clip((clip_name1, clip_name2), on_cpu=device == "cpu")

    @staticmethod
    def check(clip_name1: Path, clip_name2: Path, type: str) -> None:
        if type != "sdxl":
            raise InputError("type", "sdxl (no other kind yet)", type)
        DualCLIPLoader.family(clip_name1, clip_name2)

    @staticmethod
    def family(clip_name1: Path, clip_name2: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_clip_family

        with as_input_error("clip_name2", _CLIP):
            return detect_clip_family((clip_name1, clip_name2)).name
