"""Images made larger by networks."""

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
WHOLE = "an ESRGAN net (RRDB) or a compact one (SRVGG)"


@node("UpscaleModelLoader", category="loaders", device=True)
class UpscaleModelLoader:
    """Load a network that makes images larger.

    Args:
        model_name: name of an installed network, from `upscale_models`.

    Raises:
        InputError: it is damaged, not safe to load, or of an unknown kind.

    Source: ComfyUI's UpscaleModelLoader.
    """

    @staticmethod
    def run(model_name: UpscaleFile) -> UpscaleModel:
        from latentloom.diffusion.networks.upscale import load_upscaler

        with as_input_error("model_name", WHOLE):
            return load_upscaler(model_name)

    @staticmethod
    def check(model_name: Path) -> None:
        from latentloom.diffusion.weights.upscale_file import read_upscale_network

        with as_input_error("model_name", WHOLE):
            read_upscale_network(model_name)


@node("ImageUpscaleWithModel", category="image/upscaling", device=True)
def image_upscale_with_model(upscale_model: UpscaleModel, image: Image, context: Context) -> Image:
    """Make images larger with a network, in tiles.

    Args:
        upscale_model: the network; it says how much larger.
        image: images B×H×W×C; alpha is left out.

    Source: ComfyUI's ImageUpscaleWithModel: tiles of 512 pixels that overlap by 32.
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
    """Let a model see a large latent in tiles, which agree at every step and show no seam.

    Args:
        model: the model to sample with.
        tile_width, tile_height: of a tile, in pixels, with its overlap.
        tile_overlap: least overlap of neighbouring tiles, in pixels.

    Raises:
        InputError: the overlap is as wide as a tile.

    Source: MultiDiffusion (arXiv 2302.08113).
    """
    from latentloom.diffusion.sampling.refine import TilePlan, tile_model

    least = min(tile_width, tile_height)
    if tile_overlap >= least:
        raise InputError("tile_overlap", f"less than a tile ({least})", tile_overlap)
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
    mask_blur: SeamBlur = 8,  # noqa: ARG001 - of tiles that are pasted, in the extension's files
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
    """Make an image larger and refine it in tiles, with no seam between them.

    The extension of this name paints one tile after another and then mends their seams. Here all
    tiles are painted at once: they are faded together at every model call, so that there is no
    seam to mend, and what tells the extension how to mend is left unused.

    Args:
        image: images B×H×W×C; alpha is left out.
        model: the model that paints.
        positive: what the image should show.
        negative: what it should not show.
        vae: the autoencoder; images of more than 512 pixels are encoded and decoded in tiles.
        upscale_by: how much larger both sides get.
        seed: of the noise.
        steps: model steps.
        cfg: classifier-free guidance; 1 is none.
        sampler_name: how the steps are taken.
        scheduler: how the noise levels are spaced.
        denoise: share of the noise schedule that is run.
        upscale_model: makes the image larger first; Lanczos without one, and for the rest.
        mode_type: None only makes the image larger; the others are the same here.
        tile_width, tile_height: of a tile in pixels.
        mask_blur: unused here.
        tile_padding: what a tile sees more on each side, in pixels.
        seam_fix_mode, seam_fix_denoise, seam_fix_width: unused here.
        seam_fix_mask_blur, seam_fix_padding: unused here.
        force_uniform_tiles: unused here; tiles are uniform where the image is large enough.
        tiled_decode: unused here.

    Raises:
        SamplingError: the model gave NaN or infinity.

    Source: the job of the extension UltimateSDUpscale, by MultiDiffusion (arXiv 2302.08113).
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
    hooks = Hooks(on_step, context.count_model_call)
    return refine(larger, (model, vae), (positive, negative), plan, tiles, hooks)
