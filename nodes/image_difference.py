"""Differences of two images, as numbers that a sweep can rank."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import check_mask
from .ports import Image, Mask

Reach = Annotated[float, Between(0.0, 64.0, step=0.5)]
EdgeThreshold = Annotated[float, Between(0.01, 0.99, step=0.01)]


class Difference(NamedTuple):
    """The outputs of ImageDifference."""

    psnr: float
    ssim: float
    delta_e: float


class EdgeScore(NamedTuple):
    """The output of EdgeAgreement."""

    f1: float


@node("ImageDifference", category="image/report", score=True)
def image_difference(image1: Image, image2: Image, mask: Mask | None = None) -> Difference:
    """Measure how far two images differ, as saved in 8 bits.

    Outputs: psnr, the peak signal to noise ratio of the RGB values in dB, 200 for equal images,
    which is above that of any others; ssim, the mean structural similarity of luma, 1 for equal
    images; delta_e, the mean CIEDE2000, of which about 1 is just visible.

    Args:
        image1, image2: images B×H×W×C of one size, at least 11×11 pixels; alpha is ignored. One
            image is compared with each of a batch.
        mask: masks B×H×W of the same size; only pixels above 0 count. SSIM has no value for the
            5 pixels at the border.

    Raises:
        InputError: the sizes do not fit, or no pixel is left to compare.

    Source: for SSIM, Wang et al. 2004, with its Gaussian window of 11×11 and sigma 1.5.
    """
    from latentloom.diffusion.images.difference import BORDER_PX, WINDOW, Comparison

    _check_pair(image1, image2, WINDOW)
    check_mask("mask", mask)
    inside = None
    if mask is not None:
        _check_fits_mask(mask, image1, image2)
        inside = mask.cpu() > 0
        if not bool(inside[:, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].any()):
            expected = f"a pixel above 0 that is at least {BORDER_PX} from the border"
            raise InputError("mask", expected, "none", "grow it with GrowMask, or leave it out")
    measured = Comparison(image1, image2).measure(inside)
    assert measured is not None
    assert measured.ssim is not None
    return Difference(measured.psnr_db, measured.ssim, measured.delta_e)


@node("EdgeAgreement", category="image/report", score=True)
def edge_agreement(
    image1: Image,
    image2: Image,
    reach: Reach = 2.0,
    low_threshold: EdgeThreshold = 0.4,
    high_threshold: EdgeThreshold = 0.8,
) -> EdgeScore:
    """Measure how well the edges of two images agree: an F1 score, 1 if all do, 0 if none does.

    Edges are those of Canny. The score is the harmonic mean of two shares: the edge pixels of
    the second image that have an edge of the first within reach, and the reverse. Two images
    without edges have 1, and 0 if only one of them has edges.

    Args:
        image1, image2: images B×H×W×C of one size, at least 3×3 pixels; alpha is ignored. One
            image is compared with each of a batch.
        reach: distance in pixels up to which two edges are the same.
        low_threshold: gradients above it continue an edge; a step from black to white has 2.6.
        high_threshold: gradients above it start an edge.

    Raises:
        InputError: the sizes do not fit, or the low threshold is above the high one.
    """
    from latentloom.diffusion.images.canny import MIN_SIDE
    from latentloom.diffusion.images.difference import edge_agreement

    _check_pair(image1, image2, MIN_SIDE)
    if low_threshold > high_threshold:
        expected = f"at most `high_threshold` ({high_threshold})"
        raise InputError("low_threshold", expected, low_threshold, "swap the two")
    return EdgeScore(edge_agreement(image1, image2, reach, low_threshold, high_threshold))


def _check_pair(image1: Image, image2: Image, side: int) -> None:
    """Raise InputError unless two images can be compared."""
    height, width = image1.shape[1:3]
    if min(height, width) < side:
        raise InputError("image1", f"at least {side}×{side} pixels", f"{width}×{height}")
    if image2.shape[1:3] != image1.shape[1:3]:
        got = f"{image2.shape[2]}×{image2.shape[1]}"
        expected = f"{width}×{height} pixels, as `image1`"
        raise InputError("image2", expected, got, "resize one of them with ImageScale")
    if 1 not in (len(image1), len(image2)) and len(image1) != len(image2):
        raise InputError("image2", f"1 or {len(image1)} images, as `image1`", len(image2))


def _check_fits_mask(mask: Mask, image1: Image, image2: Image) -> None:
    """Raise InputError unless a mask has the size of the images."""
    height, width = image1.shape[1:3]
    if mask.shape[1:] != image1.shape[1:3]:
        got = f"{mask.shape[2]}×{mask.shape[1]}"
        raise InputError("mask", f"{width}×{height} pixels, as the images", got)
    batch = max(len(image1), len(image2))
    if len(mask) not in (1, batch):
        raise InputError("mask", f"1 or {batch} masks, as there are images", len(mask))
