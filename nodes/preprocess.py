"""Images that ControlNets are guided by; all but depth are made without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Seeded
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import DepthFolder, Image, Mask

PREPROCESSORS = "image/preprocessors"
WHOLE_DEPTH = "Depth Anything in a folder of transformers"
Threshold = Annotated[float, Between(0.01, 0.99, step=0.01)]
Resolution = Annotated[int, Between(64, 16_384, step=64)]
Halvings = Annotated[int, Between(1, 10)]
LineSigma = Annotated[float, Between(0.0, 100.0, step=0.1)]
LineContrast = Annotated[int, Between(0, 16)]
GreyLevel = Annotated[int, Between(0, 255)]
Seed32 = Annotated[int, Between(0, 2**32 - 1), Seeded()]


@node("Canny", category=PREPROCESSORS)
def canny(image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """White edges on black, one pixel wide, by Canny's detector.

    Args:
        image: images B×H×W×C, 3 px a side at least.
        low_threshold: gradients above it continue an edge; a step from 0 to 1 reads 2.6.
        high_threshold: gradients above it start an edge.

    Raises:
        InputError: the low threshold is above the high one, or the image is too small.
    """
    from latentloom.diffusion.images.canny import MIN_SIDE, canny

    if low_threshold > high_threshold:
        expected = f"high_threshold at most, {high_threshold}"
        raise InputError("low_threshold", expected, low_threshold, "swap the two")
    if min(image.shape[1:3]) < MIN_SIDE:
        got = f"{image.shape[2]}×{image.shape[1]}"
        raise InputError("image", f"an image of {MIN_SIDE} px a side or more", got)
    return canny(image, low_threshold, high_threshold)


@node("TilePreprocessor", category=PREPROCESSORS)
def tile_preprocessor(
    image: Image, pyrUp_iters: Halvings = 3, resolution: Resolution = 512
) -> Image:
    """An image without its details, for ControlNets that add them anew.

    Args:
        image: images B×H×W×C.
        pyrUp_iters: how often it is halved and doubled again.
        resolution: shorter side of the result in pixels.

    Source: the annotator of control_v11f1e_sd15_tile; the node's name and inputs are those of
        comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import tile, to_resolution

    return tile(to_resolution(image[..., :3], resolution), pyrUp_iters)


@node("ColorPreprocessor", category=PREPROCESSORS)
def color_preprocessor(image: Image, resolution: Resolution = 512) -> Image:
    """One colour for each 64×64 px.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.

    Source: the T2I-Adapter colour annotator; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import colours, to_resolution

    return colours(to_resolution(image[..., :3], resolution))


@node("ShufflePreprocessor", category=PREPROCESSORS)
def shuffle_preprocessor(image: Image, resolution: Resolution = 512, seed: Seed32 = 0) -> Image:
    """An image's content drawn about, so that its colours stay and its places do not.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.
        seed: of how it is drawn about.

    Source: the annotator of control_v11e_sd15_shuffle; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import shuffled, to_resolution

    return shuffled(to_resolution(image[..., :3], resolution), seed)


@node("ScribblePreprocessor", category=PREPROCESSORS)
def scribble_preprocessor(image: Image, resolution: Resolution = 512) -> Image:
    """The dark strokes of a drawing as white on black.

    Args:
        image: images B×H×W×C.
        resolution: shorter side of the result in pixels.

    Source: the scribble annotator of ControlNet 1.0; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import strokes, to_resolution

    return strokes(to_resolution(image, resolution))


@node("LineartStandardPreprocessor", category=PREPROCESSORS)
def lineart_standard_preprocessor(
    image: Image,
    guassian_sigma: LineSigma = 6.0,
    intensity_threshold: LineContrast = 8,
    resolution: Resolution = 512,
) -> Image:
    """The lines of a drawing or a photo as white on black, for lineart ControlNets.

    Args:
        image: images B×H×W×C.
        guassian_sigma: how far around a pixel it is compared with, in pixels.
        intensity_threshold: how much darker a pixel is to count as one of a line, of 255.
        resolution: shorter side of the result in pixels.

    Source: the standard lineart annotator of ControlNet 1.1; inputs, spelling included, as in
        comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import lines, to_resolution

    return lines(to_resolution(image, resolution), guassian_sigma, intensity_threshold)


@node("DepthAnythingV2Preprocessor", category=PREPROCESSORS, device=True)
class DepthAnythingV2Preprocessor:
    """How near each pixel is: near is white, for depth ControlNets.

    Args:
        image: images B×H×W×C.
        ckpt_name: name of an installed Depth Anything, version 1 or 2: a folder of transformers
            in `depth_estimation`, such as depth-anything/Depth-Anything-V2-Small-hf of the hub.
        resolution: shorter side of the result in pixels.

    Raises:
        InputError: it is damaged, not safe to load, or another network.

    Source: arXiv 2406.09414; inputs as in comfyui_controlnet_aux, whose files have other keys.
    """

    @staticmethod
    def run(image: Image, ckpt_name: DepthFolder, resolution: Resolution = 512) -> Image:
        from latentloom.diffusion.images.preprocess import to_resolution
        from latentloom.diffusion.networks.depth import estimate_nearness, load_depth

        with as_input_error("ckpt_name", WHOLE_DEPTH):
            model = load_depth(ckpt_name)
        return estimate_nearness(model, to_resolution(image, resolution))

    @staticmethod
    def check(ckpt_name: Path) -> None:
        from latentloom.diffusion.networks.depth import check_depth

        with as_input_error("ckpt_name", WHOLE_DEPTH):
            check_depth(ckpt_name)


@node("BinaryPreprocessor", category=PREPROCESSORS)
def binary_preprocessor(
    image: Image, bin_threshold: GreyLevel = 100, resolution: Resolution = 512
) -> Image:
    """Dark as white, light as black.

    Args:
        image: images B×H×W×C.
        bin_threshold: grey value up to which it is dark; 0 and 255 find one for each image.
        resolution: shorter side of the result in pixels.

    Source: the binary annotator; the automatic threshold is Otsu's.
    """
    from latentloom.diffusion.images.preprocess import binary, to_resolution

    return binary(to_resolution(image, resolution), bin_threshold)


@node("InpaintPreprocessor", category=PREPROCESSORS)
def inpaint_preprocessor(
    image: Image, mask: Mask, black_pixel_for_xinsir_cn: bool = False
) -> Image:
    """Mark what an inpainting ControlNet is to fill, by pixels of -1.

    Args:
        image: images B×H×W×C.
        mask: where to fill; resized to the image, above a half counts.
        black_pixel_for_xinsir_cn: mark with 0 instead.

    Source: the annotator of control_v11p_sd15_inpaint; inputs as in comfyui_controlnet_aux.
    """
    from latentloom.diffusion.images.preprocess import holed

    return holed(image, mask, black_pixel_for_xinsir_cn)
