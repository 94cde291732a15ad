"""Upscaling by networks, in tiles, and with a diffusion model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.context import Context
from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import (
    Cfg,
    Conditioning,
    Denoise,
    Image,
    Model,
    SamplerName,
    SchedulerName,
    Seed,
    Steps,
    UpscaleFile,
    Vae,
    WindowSide,
)

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.diffusion.networks import upscale

UpscaleModel = Annotated["upscale.UpscaleModel", Socket("UPSCALE_MODEL")]
UpscaleFactor = Annotated[float, Between(0.05, 8.0, step=0.05)]
TilePadding = Annotated[int, Between(0, 4096, step=8)]
SeamBlur = Annotated[int, Between(0, 64)]
TileOrder = Literal["Linear", "Chess", "None"]
SeamFix = Literal["None", "Band Pass", "Half Tile", "Half Tile + Intersections"]
UPSCALER = "an ESRGAN (RRDB) or compact (SRVGG) network"


@node("UpscaleModelLoader", category="model/loaders", device=True)
class UpscaleModelLoader:
    """Load an upscaling network.

    Args:
        model_name: an installed network: a file in `upscale_models`.

    Raises:
        InputError: the file is damaged, unsafe to load, or of an unknown kind.

    Source: ComfyUI's UpscaleModelLoader.
    """

    @staticmethod
    def run(model_name: UpscaleFile) -> UpscaleModel:
        from latentloom.diffusion.networks.upscale import load_upscaler

        with as_input_error("model_name", UPSCALER):
            return load_upscaler(model_name)

    @staticmethod
    def check(model_name: Path) -> None:
        from latentloom.diffusion.weights.upscale_file import read_upscale_network

        with as_input_error("model_name", UPSCALER):
            read_upscale_network(model_name)


@node("ImageUpscaleWithModel", category="image/upscaling", device=True)
def image_upscale_with_model(upscale_model: UpscaleModel, image: Image, context: Context) -> Image:
    """Upscale images with a network, in tiles.

    Args:
        upscale_model: the network; it determines the factor.
        image: images B×H×W×C; alpha is dropped.

    Source: ComfyUI's ImageUpscaleWithModel: tiles of 512 pixels with an overlap of 32.
    """
    from latentloom.diffusion.networks.upscale import upscale

    return upscale(upscale_model, image, context.progress)


@node("TiledDiffusion", category="image/upscaling")
def tiled_diffusion(
    model: Model,
    tile_width: WindowSide = 512,
    tile_height: WindowSide = 512,
    tile_overlap: TilePadding = 64,
) -> Model:
    """Sample large latents in tiles, blended at every step so that no seams appear.

    Args:
        model: the model to sample with.
        tile_width, tile_height: size of a tile in pixels, including the overlap.
        tile_overlap: smallest overlap of neighbouring tiles in pixels.

    Raises:
        InputError: the overlap is not smaller than a tile.

    Source: MultiDiffusion (arXiv 2302.08113).
    """
    from latentloom.diffusion.sampling.refine import TilePlan, tile_model

    side = min(tile_width, tile_height)
    if tile_overlap >= side:
        raise InputError("tile_overlap", f"less than a tile ({side})", tile_overlap)
    padding = tile_overlap // 2
    return tile_model(model, TilePlan(tile_width - 2 * padding, tile_height - 2 * padding, padding))


@node("UltimateSDUpscale", category="image/upscaling", device=True)
def ultimate_sd_upscale(
    *,
    image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    upscale_by: UpscaleFactor = 2.0,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName = "euler",
    scheduler: SchedulerName = "simple",
    denoise: Denoise = 0.2,
    upscale_model: UpscaleModel | None = None,
    mode_type: TileOrder = "Linear",
    tile_width: WindowSide = 512,
    tile_height: WindowSide = 512,
    mask_blur: SeamBlur = 8,  # noqa: ARG001 - the extension's, without effect here
    tile_padding: TilePadding = 32,
    seam_fix_mode: SeamFix = "None",  # noqa: ARG001
    seam_fix_denoise: Denoise = 1.0,  # noqa: ARG001
    seam_fix_width: TilePadding = 64,  # noqa: ARG001
    seam_fix_mask_blur: SeamBlur = 8,  # noqa: ARG001
    seam_fix_padding: TilePadding = 16,  # noqa: ARG001
    force_uniform_tiles: bool = True,  # noqa: ARG001
    tiled_decode: bool = False,  # noqa: ARG001
    context: Context,
) -> Image:
    """Upscale an image and refine it by sampling in tiles, without seams.

    All tiles are sampled together and blended at every model call. The extension of this name
    samples one tile after another and fixes the seams afterwards; its seam inputs have no effect.

    Args:
        image: images B×H×W×C; alpha is dropped.
        model: the model to sample with.
        positive: conditioning for what the image should show.
        negative: conditioning for what it should not show.
        vae: the VAE; images above 512 pixels are encoded and decoded in tiles.
        upscale_by: factor for width and height.
        seed: seed of the noise.
        steps: number of sampling steps.
        cfg: scale of classifier-free guidance; 1 is off.
        sampler_name: the sampler.
        scheduler: the spacing of the sigmas.
        denoise: denoising strength, 0 to 1.
        upscale_model: upscales the image first; Lanczos does the rest, or all without one.
        mode_type: None only upscales; the other modes are equivalent here.
        tile_width, tile_height: size of a tile in pixels.
        mask_blur: no effect.
        tile_padding: context around each tile in pixels.
        seam_fix_mode, seam_fix_denoise, seam_fix_width: no effect.
        seam_fix_mask_blur, seam_fix_padding: no effect.
        force_uniform_tiles: no effect; tiles are uniform if the image is large enough.
        tiled_decode: no effect.

    Raises:
        SamplingError: the model returned NaN or infinity.

    Source: the extension UltimateSDUpscale, done with MultiDiffusion (arXiv 2302.08113).
    """
    from latentloom.diffusion.images.resize import resize_image, scale_size
    from latentloom.diffusion.networks.upscale import upscale
    from latentloom.diffusion.sampling.hooks import Hooks
    from latentloom.diffusion.sampling.refine import TilePlan, refine
    from latentloom.diffusion.sampling.sample import SamplePlan

    size = scale_size(image.shape[2], image.shape[1], upscale_by)
    if upscale_model is not None:
        image = upscale(upscale_model, image, context.progress)
    larger = resize_image(image[..., :3], *size, "lanczos")
    if mode_type == "None":
        return larger

    def on_step(step: int, total: int, denoised: Tensor) -> None:
        context.progress(step, total, denoised)

    plan = SamplePlan(seed, steps, cfg, sampler_name, scheduler, denoise)
    tiles = TilePlan(tile_width, tile_height, tile_padding)
    hooks = Hooks(on_step, context.count_model_call, context.note)
    return refine(larger, (model, vae), (positive, negative), plan, tiles, hooks)
