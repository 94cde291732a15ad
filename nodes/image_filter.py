"""Image filters: blur, sharpen, noise, palettes, morphology."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between, Branches
from latentloom.engine.node.spec import node

from .checks import check_has_color
from .ports import BlurSigma, Image, KernelRadius, Seed, Share, SharpenAlpha

SharpenSigma = Annotated[float, Between(0.1, 10.0, step=0.01)]
Colors = Annotated[int, Between(1, 256)]
Dither = Literal["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]
MorphologyOperation = Literal[
    "erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"
]
KernelSize = Annotated[int, Between(3, 999)]

TransferMethod = Literal["reinhard_lab", "mkl_lab", "histogram"]
TransferStrength = Annotated[float, Between(0.0, 10.0, step=0.01)]
FrameIndex = Annotated[int, Between(0, 10_000)]


class PerFrame(NamedTuple):
    """Statistics of each image by itself."""


class Uniform(NamedTuple):
    """Statistics of all images together."""


class TargetFrame(NamedTuple):
    """Statistics of one image, for all.

    Args:
        target_index: its index; limited to the last image.
    """

    target_index: FrameIndex = 0


PER_FRAME = PerFrame()
SourceStats = Annotated[
    PerFrame | Uniform | TargetFrame,
    Branches({"per_frame": PerFrame, "uniform": Uniform, "target_frame": TargetFrame}),
]


class RecoloredImage(NamedTuple):
    """Images with other colours."""

    image: Image


@node("ImageBlur", category="image/filters")
def image_blur(image: Image, blur_radius: KernelRadius = 1, sigma: BlurSigma = 1.0) -> Image:
    """Apply a Gaussian blur to images.

    Args:
        image: images B×H×W×C.
        blur_radius: radius of the kernel in pixels.
        sigma: standard deviation of the Gaussian, as a multiple of the radius.
    """
    from latentloom.diffusion.images.filters import blur

    return blur(image, blur_radius, sigma)


@node("ImageSharpen", category="image/filters")
def image_sharpen(
    image: Image,
    sharpen_radius: KernelRadius = 1,
    sigma: SharpenSigma = 1.0,
    alpha: SharpenAlpha = 1.0,
) -> Image:
    """Sharpen images by unsharp masking; values are clamped to 0..1.

    Args:
        image: images B×H×W×C.
        sharpen_radius: radius of the kernel in pixels.
        sigma: standard deviation of the Gaussian, as a multiple of the radius.
        alpha: strength; 0.1 adds the difference from the blurred image once.
    """
    from latentloom.diffusion.images.filters import sharpen

    return sharpen(image, sharpen_radius, sigma, alpha)


@node("ImageAddNoise", category="image/filters")
def image_add_noise(image: Image, seed: Seed = 0, strength: Share = 0.5) -> Image:
    """Add Gaussian noise to images; values are clamped to 0..1.

    Args:
        image: images B×H×W×C.
        seed: seed of the noise.
        strength: standard deviation of the noise, 0 to 1.
    """
    from latentloom.diffusion.images.filters import add_noise

    return add_noise(image, seed, strength)


@node("ImageQuantize", category="image/filters")
def image_quantize(image: Image, colors: Colors = 256, dither: Dither = "none") -> Image:
    """Reduce each image to a palette of its own (median cut).

    Args:
        image: images B×H×W×C with 3 or 4 channels; alpha is dropped.
        colors: largest number of colours in a palette.
        dither: the dithering method.

    Raises:
        InputError: the images have one channel.
    """
    from latentloom.diffusion.images.filters import quantize

    check_has_color("image", image)
    return quantize(image, colors, dither)


@node("Morphology", category="image/filters")
def morphology(
    image: Image, operation: MorphologyOperation = "erode", kernel_size: KernelSize = 3
) -> Image:
    """Apply a morphological operation with a square kernel, per channel.

    Args:
        image: images B×H×W×C.
        operation: erode takes the lowest value around each pixel, dilate the highest. Open
            erodes, then dilates; close dilates, then erodes. Gradient is dilate - erode, top_hat
            is image - open, bottom_hat is close - image.
        kernel_size: side of the square in pixels.
    """
    from latentloom.diffusion.images.filters import morph

    return morph(image, operation, kernel_size)


@node("ColorTransfer", category="image/filters")
def color_transfer(
    image_target: Image,
    image_ref: Image,
    method: TransferMethod = "reinhard_lab",
    source_stats: SourceStats = PER_FRAME,
    strength: TransferStrength = 1.0,
) -> RecoloredImage:
    """Give images the colours of others.

    Args:
        image_target: images B×H×W×C; alpha stays.
        image_ref: images B×H×W×C whose statistics the result has, all together.
        method: reinhard_lab matches mean and spread of the Lab channels, mkl_lab also how they
            vary together, histogram the histograms of R, G and B in 8 bits.
        source_stats: of which images the statistics count that are replaced.
        strength: share of the change; 0 changes nothing.
    """
    from latentloom.diffusion.images.color_transfer import transfer_colors

    check_has_color("image_target", image_target)
    check_has_color("image_ref", image_ref)
    frame = -1 if isinstance(source_stats, Uniform) else None
    if isinstance(source_stats, TargetFrame):
        frame = source_stats.target_index
    return RecoloredImage(transfer_colors(image_target, image_ref, method, strength, frame))
