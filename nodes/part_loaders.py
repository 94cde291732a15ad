"""Loaders of separate files: a diffusion model or text encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, ClipFile, Model, UnetFile

WeightType = Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
DeviceChoice = Literal["default", "cpu"]
ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart",
    "cosmos", "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image",
    "hunyuan_image",
]  # fmt: skip
DualClipType = Literal["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]
UNET = "a file with a diffusion model"
CLIP = "a file with a CLIP text encoder"


@node("UNETLoader", category="model/loaders", device=True)
class UNETLoader:
    """Load a diffusion model from `models/diffusion_models` or `models/unet`.

    Args:
        unet_name: an installed file, with the original key names or those of diffusers.
        weight_dtype: fp8 rounds the weights to 8 bits; computation keeps its precision.

    Raises:
        InputError: the file is damaged, or does not contain a diffusion model.

    Source: ComfyUI's UNETLoader.
    """

    @staticmethod
    def run(unet_name: UnetFile, weight_dtype: WeightType = "default") -> Model:
        from latentloom.diffusion.networks.load import load_unet

        with as_input_error("unet_name", UNET):
            return load_unet(unet_name, weight_dtype.removesuffix("_fast"))

    @staticmethod
    def check(unet_name: Path) -> None:
        from latentloom.diffusion.weights.detect import check_unet_file

        with as_input_error("unet_name", UNET):
            check_unet_file(unet_name)

    @staticmethod
    def family(unet_name: Path) -> str:
        from latentloom.diffusion.weights.single_file import detect_file_family

        with as_input_error("unet_name", UNET):
            return detect_file_family(unet_name).name


@node("CLIPLoader", category="model/loaders", device=True)
class CLIPLoader:
    """Load a text encoder from `models/text_encoders` or `models/clip`.

    Args:
        clip_name: an installed file: CLIP-L for SD1.5, OpenCLIP-H for SD2.1, OpenCLIP-G for the
            SDXL refiner.
        type: the kind of model to use it with; only stable_diffusion is supported.
        device: the device to run it on; default is the device of the other models.

    Raises:
        InputError: the file is damaged or not such a text encoder, or the type is unsupported.

    Source: ComfyUI's CLIPLoader.
    """

    @staticmethod
    def run(
        clip_name: ClipFile,
        type: ClipType = "stable_diffusion",  # noqa: ARG004 - `check` reads it
        device: DeviceChoice = "default",
    ) -> Clip:
        from latentloom.diffusion.networks.load import load_clip

        with as_input_error("clip_name", CLIP):
            return load_clip((clip_name,), on_cpu=device == "cpu")

    @staticmethod
    def check(clip_name: Path, type: str) -> None:
        if type != "stable_diffusion":
            raise InputError("type", "stable_diffusion (the only supported type)", type)
        _check_clip_files("clip_name", clip_name)

    @staticmethod
    def family(clip_name: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_clip_family

        with as_input_error("clip_name", CLIP):
            return detect_clip_family((clip_name,)).name


@node("DualCLIPLoader", category="model/loaders", device=True)
class DualCLIPLoader:
    """Load the two text encoders of SDXL from separate files, in either order.

    Args:
        clip_name1, clip_name2: installed files, one with CLIP-L and one with OpenCLIP-G.
        type: the kind of model to use them with; only sdxl is supported.
        device: the device to run them on; default is the device of the other models.

    Raises:
        InputError: a file is damaged, they are not these two, or the type is unsupported.

    Source: ComfyUI's DualCLIPLoader.
    """

    @staticmethod
    def run(
        clip_name1: ClipFile,
        clip_name2: ClipFile,
        type: DualClipType = "sdxl",  # noqa: ARG004 - `check` reads it
        device: DeviceChoice = "default",
    ) -> Clip:
        from latentloom.diffusion.networks.load import load_clip

        with as_input_error("clip_name1", CLIP):
            return load_clip((clip_name1, clip_name2), on_cpu=device == "cpu")

    @staticmethod
    def check(clip_name1: Path, clip_name2: Path, type: str) -> None:
        if type != "sdxl":
            raise InputError("type", "sdxl (the only supported type)", type)
        _check_clip_files("clip_name2", clip_name1, clip_name2)

    @staticmethod
    def family(clip_name1: Path, clip_name2: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_clip_family

        with as_input_error("clip_name2", CLIP):
            return detect_clip_family((clip_name1, clip_name2)).name


def _check_clip_files(port: str, *paths: Path) -> None:
    from latentloom.diffusion.weights.detect import check_clip_files

    with as_input_error(port, CLIP):
        check_clip_files(paths)
