"""Loaders of text encoders in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, ClipFile

DeviceChoice = Literal["default", "cpu"]
ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart",
    "cosmos", "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image",
    "hunyuan_image", "flux2", "ovis", "longcat_image", "cogvideox", "lens", "pixeldit",
    "ideogram4", "boogu", "krea2", "joyimage", "mage", "minimax",
]  # fmt: skip
DualClipType = Literal[
    "sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image", "hunyuan_video_15",
    "kandinsky5", "kandinsky5_image", "ltxv", "newbie", "ace",
]  # fmt: skip
CLIP = "a file with a text encoder"


@node("CLIPLoader", category="model/loaders", device=True)
class CLIPLoader:
    """Load a text encoder from `models/text_encoders` or `models/clip`.

    Args:
        clip_name: an installed file: CLIP-L for SD1.5, OpenCLIP-H for SD2.1, OpenCLIP-G for the
            SDXL refiner, Qwen 3 for Z-Image, Qwen 2.5 for Qwen-Image, T5 for Chroma.
        type: the kind of model to use it with; lumina2 is that of Z-Image.
        device: the device to run it on; default is the device of the other models.

    Raises:
        InputError: the file is damaged or not a text encoder, its tokenizer is missing, or the
            type is not supported for it.

    Source: ComfyUI's CLIPLoader.
    """

    @staticmethod
    def run(
        clip_name: ClipFile,
        type: ClipType = "stable_diffusion",
        device: DeviceChoice = "default",
    ) -> Clip:
        return _load("clip_name", type, device, clip_name)

    @staticmethod
    def check(clip_name: Path, type: str) -> None:
        _check("clip_name", type, clip_name)

    @staticmethod
    def family(clip_name: Path, type: str) -> str:
        return _family("clip_name", type, clip_name)


@node("DualCLIPLoader", category="model/loaders", device=True)
class DualCLIPLoader:
    """Load two text encoders from separate files, in either order.

    Args:
        clip_name1, clip_name2: installed files: CLIP-L and OpenCLIP-G for SDXL, CLIP-L and T5 for
            Flux, two of CLIP-L, OpenCLIP-G and T5 for SD3.
        type: the kind of model to use them with.
        device: the device to run them on; default is the device of the other models.

    Raises:
        InputError: a file is damaged, a tokenizer is missing, they do not belong together, or the
            type is not supported for them.

    Source: ComfyUI's DualCLIPLoader.
    """

    @staticmethod
    def run(
        clip_name1: ClipFile,
        clip_name2: ClipFile,
        type: DualClipType = "sdxl",
        device: DeviceChoice = "default",
    ) -> Clip:
        return _load("clip_name2", type, device, clip_name1, clip_name2)

    @staticmethod
    def check(clip_name1: Path, clip_name2: Path, type: str) -> None:
        _check("clip_name2", type, clip_name1, clip_name2)

    @staticmethod
    def family(clip_name1: Path, clip_name2: Path, type: str) -> str:
        return _family("clip_name2", type, clip_name1, clip_name2)


@node("TripleCLIPLoader", category="model/loaders", device=True)
class TripleCLIPLoader:
    """Load the three text encoders of SD3 from separate files, in any order.

    Args:
        clip_name1, clip_name2, clip_name3: installed files with CLIP-L, OpenCLIP-G and T5.

    Raises:
        InputError: a file is damaged, a tokenizer is missing, or they are not these three.

    Source: ComfyUI's TripleCLIPLoader.
    """

    @staticmethod
    def run(clip_name1: ClipFile, clip_name2: ClipFile, clip_name3: ClipFile) -> Clip:
        return _load("clip_name3", "sd3", "default", clip_name1, clip_name2, clip_name3)

    @staticmethod
    def check(clip_name1: Path, clip_name2: Path, clip_name3: Path) -> None:
        _check("clip_name3", "sd3", clip_name1, clip_name2, clip_name3)

    @staticmethod
    def family(clip_name1: Path, clip_name2: Path, clip_name3: Path) -> str:
        return _family("clip_name3", "sd3", clip_name1, clip_name2, clip_name3)


def _load(port: str, type: str, device: str, *paths: Path) -> Clip:
    from latentloom.diffusion.networks.load_text import load_clip

    with as_input_error(port, CLIP):
        return load_clip(paths, type, on_cpu=device == "cpu")


def _check(port: str, type: str, *paths: Path) -> None:
    """Raise InputError of the files' last port, or of `type`."""
    from latentloom.diffusion.text.clip_files import check_clip_files, list_kinds
    from latentloom.diffusion.text.recipes import find_recipe

    with as_input_error(port, CLIP):
        kinds = list_kinds(paths)
    with as_input_error("type"):
        find_recipe(kinds, type)
    with as_input_error(port, CLIP):
        check_clip_files(paths, type)


def _family(port: str, type: str, *paths: Path) -> str:
    from latentloom.diffusion.text.clip_files import detect_clip_family

    with as_input_error(port, CLIP):
        return detect_clip_family(paths, type).name
