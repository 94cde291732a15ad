"""Filters: blur, sharpen, noise, few colours, morphology."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
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


@node("ImageBlur", category="image/postprocessing")
def image_blur(image: Image, blur_radius: KernelRadius = 1, sigma: BlurSigma = 1.0) -> Image:
    """Blur images with a Gaussian.

    Args:
        image: images B×H×W×C.
        blur_radius: of the kernel, in pixels.
        sigma: width of the Gaussian, in radii.
    """
    from latentloom.diffusion.images.filters import blur

    return blur(image, blur_radius, sigma)


@node("ImageSharpen", category="image/postprocessing")
def image_sharpen(
    image: Image,
    sharpen_radius: KernelRadius = 1,
    sigma: SharpenSigma = 1.0,
    alpha: SharpenAlpha = 1.0,
) -> Image:
    """Sharpen images by what a blur takes away; results are cut to 0..1.

    Args:
        image: images B×H×W×C.
        sharpen_radius: of the kernel, in pixels.
        sigma: width of the Gaussian, in radii.
        alpha: strength, in tenths.
    """
    from latentloom.diffusion.images.filters import sharpen

    return sharpen(image, sharpen_radius, sigma, alpha)


@node("ImageAddNoise", category="image")
def image_add_noise(image: Image, seed: Seed = 0, strength: Share = 0.5) -> Image:
    """Add normal noise to images; results are cut to 0..1.

    Args:
        image: images B×H×W×C.
        seed: of the noise.
        strength: its standard deviation.
    """
    from latentloom.diffusion.images.filters import add_noise

    return add_noise(image, seed, strength)


@node("ImageQuantize", category="image/postprocessing")
def image_quantize(image: Image, colors: Colors = 256, dither: Dither = "none") -> Image:
    """Paint each image with a palette of its own.

    Args:
        image: images B×H×W×C of at least 3 channels; alpha is left out.
        colors: most colours in the palette.
        dither: how colours between those of the palette are shown.

    Raises:
        InputError: the images are grey.
    """
    from latentloom.diffusion.images.filters import quantize

    check_has_color("image", image)
    return quantize(image, colors, dither)


@node("Morphology", category="image/postprocessing")
def morphology(
    image: Image, operation: MorphologyOperation = "erode", kernel_size: KernelSize = 3
) -> Image:
    """Morphology with a square: each pixel takes the lowest or highest value around it.

    Args:
        image: images B×H×W×C.
        operation: open is erode and dilate, close the other way round; gradient is dilate minus
            erode; the hats are what open and close take away.
        kernel_size: side of the square in pixels.
    """
    from latentloom.diffusion.images.filters import morph

    return morph(image, operation, kernel_size)
