"""Preprocessors: control images for ControlNets; only depth needs a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Seeded
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import DepthFolder, Image, Mask

PREPROCESSORS = "image/preprocessors"
DEPTH_MODEL = "a Depth Anything model in a transformers folder"
Threshold = Annotated[float, Between(0.01, 0.99, step=0.01)]
Resolution = Annotated[int, Between(64, 16_384, step=64)]
Halvings = Annotated[int, Between(1, 10)]
LineSigma = Annotated[float, Between(0.0, 100.0, step=0.1)]
LineContrast = Annotated[int, Between(0, 16)]
GreyLevel = Annotated[int, Between(0, 255)]
Seed32 = Annotated[int, Between(0, 2**32 - 1), Seeded()]


@node("Canny", category="image/filters")
def canny(image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """Detect edges with the Canny algorithm: white lines on black, one pixel wide.

    Args:
        image: images B×H×W×C of at least 3×3 pixels.
        low_threshold: gradients above it continue an edge; a step from black to white has 2.6.
        high_threshold: gradients above it start an edge.

    Raises:
        InputError: the low threshold is above the high one, or the image is too small.
    """
    from latentloom.diffusion.images.canny import MIN_SIDE, canny

    if low_threshold > high_threshold:
        expected = f"at most `high_threshold` ({high_threshold})"
        raise InputError("low_threshold", expected, low_threshold, "swap the two")
    if min(image.shape[1:3]) < MIN_SIDE:
        expected = f"an image of at least {MIN_SIDE}×{MIN_SIDE} pixels"
        raise InputError("image", expected, f"{image.shape[2]}×{image.shape[1]}")
    return canny(image, low_threshold, high_threshold)


@node("TilePreprocessor", category=PREPROCESSORS)
def tile_preprocessor(
    image: Image, pyrUp_iters: Halvings = 3, resolution: Resolution = 512
) -> Image:
    """Remove detail from images, for tile ControlNets, which add new detail.

    Args:
        image: images B×H×W×C.
        pyrUp_iters: number of times the size is halved and doubled again.
        resolution: shorter side of the result in pixels.

    Source: the annotator of control_v11f1e_sd15_tile; name and inputs as in
        comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import remove_detail, to_resolution

    return remove_detail(to_resolution(image[..., :3], resolution), pyrUp_iters)


@node("ColorPreprocessor", category=PREPROCESSORS)
def color_preprocessor(image: Image, resolution: Resolution = 512) -> Image:
    """Reduce images to a grid of 64×64-pixel colour blocks, for color ControlNets.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.

    Source: the T2I-Adapter colour annotator; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import to_color_grid, to_resolution

    return to_color_grid(to_resolution(image[..., :3], resolution))


@node("ShufflePreprocessor", category=PREPROCESSORS)
def shuffle_preprocessor(image: Image, resolution: Resolution = 512, seed: Seed32 = 0) -> Image:
    """Distort images by random smooth maps, for shuffle ControlNets.

    The colours stay, the layout does not.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.
        seed: seed of the maps.

    Source: the annotator of control_v11e_sd15_shuffle; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import shuffle, to_resolution

    return shuffle(to_resolution(image[..., :3], resolution), seed)


@node("ScribblePreprocessor", category=PREPROCESSORS)
def scribble_preprocessor(image: Image, resolution: Resolution = 512) -> Image:
    """Extract the dark strokes of a drawing as white on black, for scribble ControlNets.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.

    Source: the scribble annotator of ControlNet 1.0; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import extract_strokes, to_resolution

    return extract_strokes(to_resolution(image, resolution))


@node("LineartStandardPreprocessor", category=PREPROCESSORS)
def lineart_standard_preprocessor(
    image: Image,
    guassian_sigma: LineSigma = 6.0,
    intensity_threshold: LineContrast = 8,
    resolution: Resolution = 512,
) -> Image:
    """Extract the lines of a drawing or photo as white on black, for lineart ControlNets.

    Args:
        image: images B×H×W×C.
        guassian_sigma: standard deviation in pixels of the blur that pixels are compared with.
        intensity_threshold: darkness in 8-bit levels, 0 to 16, above which pixels set the
            brightness of the lines.
        resolution: shorter side of the result in pixels.

    Source: the standard lineart annotator of ControlNet 1.1; inputs, spelling included, as in
        comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import extract_lines, to_resolution

    return extract_lines(to_resolution(image, resolution), guassian_sigma, intensity_threshold)


@node("DepthAnythingV2Preprocessor", category=PREPROCESSORS, device=True)
class DepthAnythingV2Preprocessor:
    """Estimate depth as greyscale images, near is white, for depth ControlNets.

    Args:
        image: images B×H×W×C.
        ckpt_name: an installed Depth Anything model, version 1 or 2: a transformers folder in
            `depth_estimation`, such as depth-anything/Depth-Anything-V2-Small-hf from the Hub.
        resolution: shorter side of the result in pixels.

    Raises:
        InputError: the files are damaged, unsafe to load, or of another network.

    Source: arXiv 2406.09414; inputs as in comfyui_controlnet_aux, which loads other files.
    """

    @staticmethod
    def run(image: Image, ckpt_name: DepthFolder, resolution: Resolution = 512) -> Image:
        from latentloom.diffusion.images.preprocess import to_resolution
        from latentloom.diffusion.networks.depth import estimate_nearness, load_depth

        with as_input_error("ckpt_name", DEPTH_MODEL):
            model = load_depth(ckpt_name)
        return estimate_nearness(model, to_resolution(image, resolution))

    @staticmethod
    def check(ckpt_name: Path) -> None:
        from latentloom.diffusion.networks.depth import check_depth

        with as_input_error("ckpt_name", DEPTH_MODEL):
            check_depth(ckpt_name)


@node("BinaryPreprocessor", category=PREPROCESSORS)
def binary_preprocessor(
    image: Image, bin_threshold: GreyLevel = 100, resolution: Resolution = 512
) -> Image:
    """Convert images to black and white, inverted: dark becomes white.

    Args:
        image: images B×H×W×C.
        bin_threshold: largest grey value that counts as dark, 0 to 255; 0 and 255 choose a
            threshold for each image.
        resolution: shorter side of the result in pixels.

    Source: the binary annotator; the automatic threshold is Otsu's.
    """
    from latentloom.diffusion.images.preprocess import binarize, to_resolution

    return binarize(to_resolution(image, resolution), bin_threshold)


@node("InpaintPreprocessor", category=PREPROCESSORS)
def inpaint_preprocessor(
    image: Image, mask: Mask, black_pixel_for_xinsir_cn: bool = False
) -> Image:
    """Set masked pixels to -1, for inpainting ControlNets.

    Args:
        image: images B×H×W×C.
        mask: masks B×H×W, resized to the image; above 0.5 is masked.
        black_pixel_for_xinsir_cn: set them to 0 instead.

    Source: the annotator of control_v11p_sd15_inpaint; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import set_masked

    return set_masked(image, mask, black_pixel_for_xinsir_cn)
