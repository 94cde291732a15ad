"""Outside the mask, every byte of the saved image equals the source, for any mask and size.

Complete graphs on a tiny random model: load image and mask, sample, decode, paste back, save, and
read with Pillow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import latentloom
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph

SIDES = st.integers(8, 45)
KINDS = ("soft", "empty", "full", "pixel", "border", "blobs")
Levels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("images")
    return Workspace(input_dir=folder, output_dir=folder / "out")


def make_mask(kind: str, width: int, height: int, seed: int) -> Levels:
    """Return a mask with 8-bit levels."""
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    match kind:
        case "soft":
            mask[:] = random.integers(0, 256, mask.shape)
            mask[random.random(mask.shape) < 0.7] = 0
        case "full":
            mask[:] = 255
        case "pixel":
            mask[random.integers(height), random.integers(width)] = random.integers(1, 256)
        case "border":
            mask[:, -1 - random.integers(width // 2) :] = 255
        case "blobs":
            mask[: height // 3, : width // 3] = 255
            mask[-(height // 3) :, -(width // 3) :] = 128
    return mask


def write(folder: Path, width: int, height: int, kind: str, seed: int) -> tuple[Levels, Levels]:
    """Write a random photo.png and its mask.png."""
    photo = np.random.default_rng(seed + 1).integers(0, 256, (height, width, 3), np.uint8)
    mask = make_mask(kind, width, height, seed)
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(mask).save(folder / "mask.png")
    return photo, mask


def inpaint_graph(grow: int, blend: int, passes: int = 1, seed: int = 1) -> Graph:
    """Build graphs/inpaint_exact.yaml on the tiny model, with several passes."""
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    photo, _ = b.LoadImage(image="photo.png")
    mask = b.LoadImageMask(image="mask.png", channel="red")
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent: Any
    positive, negative, latent = b.InpaintModelConditioning(
        positive=prompt, negative=prompt, vae=vae, pixels=photo, mask=mask
    )
    for index in range(passes):
        latent = b.KSampler(
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent,
            steps=1,
            cfg=1.0,
            seed=seed + index,
        )
    pixels = b.VAEDecode(samples=latent, vae=vae, id="decode")
    pasted = b.ImagePasteBack(source=photo, image=pixels, mask=mask, grow=grow, blend=blend)
    b.SaveImage(images=pasted, filename_prefix="exact", id="save")
    return b.graph


def run_and_read(engine: Engine, graph: Graph, workspace: Workspace) -> Levels:
    result = engine.run(graph, workspace)
    assert result.errors == ()
    ((_, path),) = result.saved
    with Image.open(path) as image:
        return np.asarray(image)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    width=SIDES,
    height=SIDES,
    kind=st.sampled_from(KINDS),
    grow=st.integers(0, 6),
    blend=st.integers(0, 6),
    seed=st.integers(0, 2**16),
)
def test_outside_the_grown_mask_every_byte_equals_the_source(
    engine: Engine, workspace: Workspace, width: int, height: int, kind: str, grow: int, blend: int,
    seed: int,
) -> None:  # fmt: skip
    photo, mask = write(workspace.input_dir, width, height, kind, seed)
    grow = max(grow, blend)
    got = run_and_read(engine, inpaint_graph(grow, blend, seed=seed), workspace)
    square = np.ones((2 * grow + 1, 2 * grow + 1), bool)
    outside = ~ndimage.binary_dilation(mask > 0, square)
    assert got.shape == photo.shape
    assert np.array_equal(got[outside], photo[outside])


def crop_graph(blend: int, islands: str, seed: int = 1) -> Graph:
    """Build graphs/inpaint_crop.yaml on the tiny model."""
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    photo, _ = b.LoadImage(image="photo.png")
    mask = b.LoadImageMask(image="mask.png", channel="red")
    stitch, crops, inside = b.InpaintCrop(
        image=photo,
        mask=mask,
        context_expand_pixels=4,
        blend_pixels=blend,
        islands=islands,
        target_size=24,
        id="crop",
    )
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent = b.SetLatentNoiseMask(samples=b.VAEEncode(pixels=crops, vae=vae), mask=inside)
    sampled = b.KSampler(
        model=model,
        positive=prompt,
        negative=prompt,
        latent_image=latent,
        steps=1,
        cfg=1.0,
        seed=seed,
    )
    pixels = b.VAEDecode(samples=sampled, vae=vae)
    b.SaveImage(images=b.InpaintStitch(stitch=stitch, inpainted_image=pixels), id="save")
    return b.graph


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    width=SIDES,
    height=SIDES,
    kind=st.sampled_from([kind for kind in KINDS if kind != "empty"]),
    blend=st.integers(0, 6),
    islands=st.sampled_from(["together", "apart"]),
    seed=st.integers(0, 2**16),
)
def test_stitching_changes_no_byte_beyond_the_blend_area(
    engine: Engine, workspace: Workspace, width: int, height: int, kind: str, blend: int,
    islands: str, seed: int,
) -> None:  # fmt: skip
    photo, mask = write(workspace.input_dir, width, height, kind, seed)
    assume((mask > 0).any())
    got = run_and_read(engine, crop_graph(blend, islands, seed), workspace)
    outside = ~ndimage.binary_dilation(mask > 0, np.ones((2 * blend + 1,) * 2, bool))
    assert got.shape == photo.shape
    assert np.array_equal(got[outside], photo[outside])


def test_an_empty_mask_is_reported(engine: Engine, workspace: Workspace) -> None:
    write(workspace.input_dir, 20, 20, "empty", 1)
    (error,) = engine.run(crop_graph(4, "together"), workspace).errors
    assert "InpaintCrop (crop)" in str(error)
    assert "got an empty mask, 0 everywhere" in str(error)
    assert "draw the part to inpaint in white" in str(error)


def test_inside_the_mask_the_image_changes(engine: Engine, workspace: Workspace) -> None:
    photo, mask = write(workspace.input_dir, 40, 32, "blobs", 3)
    got = run_and_read(engine, inpaint_graph(0, 0), workspace)
    assert float((got[mask == 255] != photo[mask == 255]).mean()) > 0.9


def test_five_passes_keep_the_outside_exact_with_one_decode(
    engine: Engine, workspace: Workspace
) -> None:
    photo, mask = write(workspace.input_dir, 43, 37, "blobs", 5)
    graph = inpaint_graph(4, 4, passes=5)
    result = engine.run(graph, workspace)
    types = [report.type for report in result.nodes.values()]
    assert types.count("KSampler") == 5
    assert types.count("VAEDecode") == types.count("InpaintModelConditioning") == 1
    got = run_and_read(engine, graph, workspace)
    outside = ~ndimage.binary_dilation(mask > 0, np.ones((9, 9), bool))
    assert np.array_equal(got[outside], photo[outside])


def test_every_level_survives_an_empty_mask(engine: Engine, workspace: Workspace) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photo = np.stack([levels, levels[::-1], levels.T], axis=-1)
    Image.fromarray(photo).save(workspace.input_dir / "photo.png")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(workspace.input_dir / "mask.png")
    assert np.array_equal(run_and_read(engine, inpaint_graph(8, 8), workspace), photo)


def test_every_alpha_level_survives_as_a_mask(engine: Engine, workspace: Workspace) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photo = np.stack([levels, levels[::-1], levels.T, levels[:, ::-1]], axis=-1)
    Image.fromarray(photo).save(workspace.input_dir / "photo.png")
    b = latentloom.build()
    image, transparent = b.LoadImage(image="photo.png")
    once = b.JoinImageWithAlpha(image=image, alpha=transparent)
    again, mask = b.SplitImageWithAlpha(image=once)
    b.SaveImage(images=b.JoinImageWithAlpha(image=again, alpha=mask))
    assert np.array_equal(run_and_read(engine, b.graph, workspace), photo)


@pytest.mark.parametrize("size", [(37, 29), (40, 32)])
def test_an_image_with_alpha_keeps_it_outside_the_mask(
    engine: Engine, workspace: Workspace, size: tuple[int, int]
) -> None:
    width, height = size
    photo = np.random.default_rng(2).integers(0, 256, (height, width, 4), np.uint8)
    mask = make_mask("blobs", width, height, 2)
    Image.fromarray(photo).save(workspace.input_dir / "photo.png")
    Image.fromarray(mask).save(workspace.input_dir / "mask.png")
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    image, transparent = b.LoadImage(image="photo.png")
    inside = b.LoadImageMask(image="mask.png", channel="red")
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent = b.SetLatentNoiseMask(samples=b.VAEEncode(pixels=image, vae=vae), mask=inside)
    sampled = b.KSampler(
        model=model, positive=prompt, negative=prompt, latent_image=latent, steps=1, cfg=1.0
    )
    with_alpha = b.JoinImageWithAlpha(image=image, alpha=transparent)
    painted = b.VAEDecode(samples=sampled, vae=vae)
    pasted = b.ImagePasteBack(source=with_alpha, image=painted, mask=inside, grow=3, blend=3)
    b.SaveImage(images=pasted)
    got = run_and_read(engine, b.graph, workspace)
    outside = ~ndimage.binary_dilation(mask > 0, np.ones((7, 7), bool))
    assert got.shape == photo.shape
    assert np.array_equal(got[outside], photo[outside])
    # The decoded image has no alpha, so the source's alpha is kept inside the mask too.
    assert np.array_equal(got[..., 3], photo[..., 3])


def test_each_image_of_a_batch_is_exact_outside_its_own_mask(
    engine: Engine, workspace: Workspace
) -> None:
    """The VAE crops 42×30 pixels to 40×24; pixels outside equal the source in any mask."""
    photos = np.random.default_rng(4).integers(0, 256, (2, 30, 42, 3), np.uint8)
    masks = np.stack([make_mask("blobs", 42, 30, 1), make_mask("border", 42, 30, 9)])
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="tiny")
    loaded = []
    for index in range(2):
        for name, levels in (("photo", photos), ("mask", masks)):
            Image.fromarray(levels[index]).save(workspace.input_dir / f"{name}{index}.png")
            image, _ = b.LoadImage(image=f"{name}{index}.png")
            loaded.append(image)
    batch = b.ImageBatch(image1=loaded[0], image2=loaded[2])
    both = b.ImageToMask(image=b.ImageBatch(image1=loaded[1], image2=loaded[3]), channel="red")
    prompt = b.CLIPTextEncode(text="a fox", clip=clip)
    latent = b.SetLatentNoiseMask(samples=b.VAEEncode(pixels=batch, vae=vae), mask=both)
    sampled = b.KSampler(
        model=model, positive=prompt, negative=prompt, latent_image=latent, steps=1, cfg=1.0
    )
    painted = b.VAEDecode(samples=sampled, vae=vae)
    pasted = b.ImagePasteBack(source=batch, image=painted, mask=both, grow=2, blend=1)
    b.SaveImage(images=pasted)
    result = engine.run(b.graph, workspace)
    assert result.errors == ()
    got = np.stack([np.asarray(Image.open(path)) for _, path in result.saved])
    outside = ~np.stack([ndimage.binary_dilation(mask > 0, np.ones((5, 5))) for mask in masks])
    assert np.array_equal(got[outside], photos[outside])
    seen = masks == 255
    seen[:, :3], seen[:, 27:], seen[:, :, :1], seen[:, :, 41:] = (False,) * 4
    assert (got[seen] != photos[seen]).mean() > 0.9
