"""Port types that several nodes share: edge types, ranges, choices and model files.

Edge values: IMAGE is float32 B×H×W×C in 0..1, sRGB; MASK is float32 B×H×W in 0..1, where 1 marks
what to change or what is transparent; LATENT is in unscaled VAE space. Sizes are in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from latentloom.engine.errors import FormatError
from latentloom.engine.node.ports import ANY, Between, Choices, File, Seeded, Socket, Text

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.diffusion.conditioning import conditioning
    from latentloom.diffusion.latents import latents
    from latentloom.diffusion.networks import (
        clip_vision,
        control,
        handles,
    )
    from latentloom.diffusion.patches import latent_operation
    from latentloom.diffusion.samplers import table
    from latentloom.diffusion.sampling import (
        guidance,
        noise,
    )
    from latentloom.diffusion.weights.digest_files import DigestFiles


def _share_space(first: str, second: str) -> bool:
    from latentloom.diffusion.families.table import share_space

    return share_space(first, second)


AnyValue = Annotated[Any, Socket(ANY)]
Image = Annotated["Tensor", Socket("IMAGE")]
Mask = Annotated["Tensor", Socket("MASK")]
Latent = Annotated["latents.Latent", Socket("LATENT", family=True, compatible=_share_space)]
Conditioning = Annotated["conditioning.Conditioning", Socket("CONDITIONING", family=True)]
Model = Annotated["handles.Model", Socket("MODEL", family=True)]
Clip = Annotated["handles.Clip", Socket("CLIP", family=True)]
Vae = Annotated["handles.Vae", Socket("VAE", family=True, compatible=_share_space)]
ControlNet = Annotated["control.ControlNet", Socket("CONTROL_NET", family=True)]
VisionOutput = Annotated["clip_vision.VisionOutput", Socket("CLIP_VISION_OUTPUT")]
Sigmas = Annotated["Tensor", Socket("SIGMAS")]
Sampler = Annotated["table.SamplerChoice", Socket("SAMPLER")]
Noise = Annotated["noise.NoiseChoice", Socket("NOISE")]
Guider = Annotated["guidance.Guidance", Socket("GUIDER", family=True)]
LatentOperation = Annotated["latent_operation.LatentOperation", Socket("LATENT_OPERATION")]

Seed = Annotated[int, Between(0, 2**64 - 1), Seeded()]
Steps = Annotated[int, Between(1, 10_000)]
StepIndex = Annotated[int, Between(0, 10_000)]
Cfg = Annotated[float, Between(0.0, 100.0, step=0.1)]
GuidanceNumber = Annotated[float, Between(0.0, 100.0, step=0.1)]
Denoise = Annotated[float, Between(0.0, 1.0, step=0.01)]
Share = Annotated[float, Between(0.0, 1.0, step=0.01)]
Percent = Annotated[float, Between(0.0, 1.0, step=0.001)]
Coefficient = Annotated[float, Between(0.0, 100.0, step=0.01)]
SmallCoefficient = Annotated[float, Between(0.0, 10.0, step=0.01)]
Multiplier = Annotated[float, Between(-10.0, 10.0, step=0.01)]
KernelRadius = Annotated[int, Between(1, 31)]
BlurSigma = Annotated[float, Between(0.1, 10.0, step=0.1)]
SharpenAlpha = Annotated[float, Between(0.0, 5.0, step=0.01)]
Megapixels = Annotated[float, Between(0.01, 16.0, step=0.01)]
ScaleFactor = Annotated[float, Between(0.01, 8.0, step=0.01)]
Offset = Annotated[int, Between(0, 16_384)]
LatentOffset = Annotated[int, Between(0, 16_384, step=8)]
Pixels = Annotated[int, Between(1, 16_384)]
Color = Annotated[int, Between(0, 0xFFFFFF)]
PixelsOrAuto = Annotated[int, Between(0, 16_384)]
LatentPixelsOrAuto = Annotated[int, Between(0, 16_384, step=8)]
WindowSide = Annotated[int, Between(64, 16_384, step=8)]
BatchSize = Annotated[int, Between(1, 4096)]
Prompt = Annotated[str, Text(multiline=True)]
FilenamePrefix = Annotated[str, Text()]

# Length of a string that a node may make.
MAX_STRING_CHARS = 1_000_000
# Side of an image or crop where no model says its native size.
DEFAULT_SIDE_PX = 512


def _samplers() -> Sequence[str]:
    from latentloom.diffusion.samplers.table import SAMPLER_NAMES

    return SAMPLER_NAMES


def _schedulers() -> Sequence[str]:
    from latentloom.diffusion.schedules.names import SCHEDULERS

    return SCHEDULERS


SamplerName = Annotated[str, Choices(_samplers)]
SchedulerName = Annotated[str, Choices(_schedulers)]

LatentResize = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
ImageResize = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
Crop = Literal["disabled", "center"]
FlipMethod = Literal["x-axis: vertically", "y-axis: horizontally"]
Rotation = Literal["none", "90 degrees", "180 degrees", "270 degrees"]


class ImageAndMask(NamedTuple):
    """Images, and masks of what is transparent or to be inpainted."""

    IMAGE: Image
    MASK: Mask


def check_model_folders() -> list[str]:
    """Return messages on model folders that a file of extra paths names but that are missing.

    Raises:
        FormatError: a file of extra paths cannot be read.
    """
    from latentloom.diffusion.errors import ModelFileError
    from latentloom.diffusion.weights.folders import find_missing_folders

    try:
        return find_missing_folders()
    except ModelFileError as error:
        raise FormatError(str(error)) from error


def stored_digests() -> DigestFiles | None:
    """Return the digests of model files in the cache folder; None if the disk cache is off."""
    from latentloom.engine.cache.generation import cache_folder

    folder = cache_folder()
    return _open_digests(folder / "digests") if folder else None


@lru_cache(4)
def _open_digests(folder: Path) -> DigestFiles:
    from latentloom.diffusion.weights.digest_files import DigestFiles

    return DigestFiles(folder)


def _models(kind: str) -> File:
    """Return a port type for the installed model files and folders of one kind."""

    def names() -> Sequence[str]:
        from latentloom.diffusion.errors import ModelFileError
        from latentloom.diffusion.weights.folders import list_models

        try:
            return list_models(kind)
        except ModelFileError:  # `resolve` raises it for the input that needs the file
            return []

    def resolve(name: str) -> Path:
        from latentloom.diffusion.errors import MissingModelError
        from latentloom.diffusion.weights.folders import resolve_model

        try:
            return resolve_model(kind, name)
        except MissingModelError as error:
            raise FileNotFoundError(f"put it into models/{kind}") from error

    def describe(path: Path) -> Mapping[str, str | int]:
        from dataclasses import asdict

        from latentloom.diffusion.weights.listing import describe_model

        return asdict(describe_model(path))

    def digest(path: Path) -> str:
        from latentloom.diffusion.weights.digest import content_digest

        return content_digest(path, stored_digests())

    return File(kind, names, resolve, describe, digest)


CheckpointFile = Annotated[Path, _models("checkpoints")]
VaeFile = Annotated[Path, _models("vae")]
UnetFile = Annotated[Path, _models("diffusion_models")]
ClipFile = Annotated[Path, _models("text_encoders")]
DiffusersFolder = Annotated[Path, _models("diffusers")]
ControlNetFile = Annotated[Path, _models("controlnet")]
LoraFile = Annotated[Path, _models("loras")]
UpscaleFile = Annotated[Path, _models("upscale_models")]
ClipVisionFolder = Annotated[Path, _models("clip_vision")]
DepthFolder = Annotated[Path, _models("depth_estimation")]
StyleModelFile = Annotated[Path, _models("style_models")]
IpAdapterFile = Annotated[Path, _models("ipadapter")]
ImageFile = Annotated[Path, File("input")]
EncodedPrompt = Annotated[str, Text(multiline=True, mentions=_models("embeddings"))]
LatentFile = Annotated[Path, File("latent")]
