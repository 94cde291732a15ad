"""Image files: loading, saving, previews."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from latentloom.engine.errors import InputError
from latentloom.engine.files.inside import read_resolved
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.spec import node

from .checks import as_filename_error, as_input_error, check_filename_prefix, check_mask
from .ports import FilenamePrefix, Image, ImageAndMask, ImageFile, Mask

PREVIEW_PREFIX = "ComfyUI_temp"
PREVIEW_LEVEL, SAVE_LEVEL = 1, 4
FileChannel = Literal["alpha", "red", "green", "blue"]


@node("LoadImage", category="image")
class LoadImage:
    """Load an image file.

    Its first frame or page, turned as its EXIF orientation says, as an image 1×H×W×3. MASK is 1
    where the file is transparent; 64×64 zeros when it has no alpha. 16-bit grey keeps its 16 bits.

    Args:
        image: the file's name, beside the graph or in the input folder.

    Raises:
        InputError: it is not an image, is cut short, or has more than 64 megapixels.
    """

    @staticmethod
    def run(image: ImageFile) -> ImageAndMask:
        from latentloom.diffusion.images.images import load

        with as_input_error("image"):
            return ImageAndMask(*load(image, read_resolved))

    @staticmethod
    def check(image: Path) -> None:
        """Refuse a file that cannot be loaded before anything runs."""
        _check_image(image)


@node("LoadImageMask", category="mask")
class LoadImageMask:
    """Load one channel of an image file as a mask 1×H×W.

    Args:
        image: the file's name, beside the graph or in the input folder.
        channel: the channel; alpha gives 1 where the file is transparent, zeros if it has none.

    Raises:
        InputError: it is not an image, is cut short, or has more than 64 megapixels.
    """

    @staticmethod
    def run(image: ImageFile, channel: FileChannel = "alpha") -> Mask:
        from latentloom.diffusion.images.images import load_mask

        with as_input_error("image"):
            return load_mask(image, channel, read_resolved)

    @staticmethod
    def check(image: Path) -> None:
        """Refuse a file that cannot be loaded before anything runs."""
        _check_image(image)


@node("SaveImage", category="image", output=True)
class SaveImage:
    """Save images as PNG files that carry the graph.

    Files are `<prefix>_00001_.png`, `<prefix>_00002_.png`, ...; the number counts on from what is
    there, and no file is ever replaced.

    Args:
        images: images B×H×W×C in 0..1; values outside are cut.
        filename_prefix: name, perhaps with folders, inside the output folder. %width%, %height%,
            %year%, %month%, %day%, %hour%, %minute%, %second% and %date:yyyy-MM-dd% are filled in.

    Raises:
        InputError: the prefix leaves the output folder, or no file can be written there.
    """

    @staticmethod
    def run(images: Image, context: Context, filename_prefix: FilenamePrefix = "ComfyUI") -> Saved:
        return _save("SaveImage", images, context, filename_prefix, SAVE_LEVEL)

    @staticmethod
    def check(filename_prefix: str = "ComfyUI") -> None:
        """Refuse a prefix that leaves the output folder before anything runs."""
        check_filename_prefix(filename_prefix)


@node("PreviewImage", category="image", output=True)
def preview_image(images: Image, context: Context) -> Saved:
    """Show images: saved as PNG files in the folder for temporary files.

    Args:
        images: images B×H×W×C in 0..1; values outside are cut.
    """
    return _save("PreviewImage", images, context, PREVIEW_PREFIX, PREVIEW_LEVEL)


@node("MaskPreview", category="mask", output=True)
def mask_preview(mask: Mask, context: Context) -> Saved:
    """Show masks as grey images, saved in the folder for temporary files.

    Args:
        mask: masks B×H×W in 0..1; values outside are cut.
    """
    from latentloom.diffusion.images.masks import to_image

    check_mask("mask", mask)
    return _save("MaskPreview", to_image(mask), context, PREVIEW_PREFIX, PREVIEW_LEVEL)


def _check_image(image: Path) -> None:
    from latentloom.diffusion.images.image_files import check_file

    with as_input_error("image"):
        check_file(image, read_resolved)


def _save(name: str, images: Image, context: Context, prefix: str, level: int) -> Saved:
    from latentloom.diffusion.images.images import encode_png
    from latentloom.engine.files.saving import (
        expand_prefix,
        next_number,
        prepare_target,
        write_numbered,
    )

    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        expected = "images B×H×W×C of 1, 3 or 4 channels"
        raise InputError("images", expected, tuple(images.shape))
    folder = context.output_dir if name == "SaveImage" else context.temp_dir
    expanded = expand_prefix(prefix, images.shape[2], images.shape[1], datetime.now())
    text, paths = context.embedded(), []
    with as_filename_error(expanded, folder):
        target = prepare_target(expanded, folder)
        number = next_number(target)
        for image in images:
            context.check()
            path, number = write_numbered(target, encode_png(image, text, level), number)
            paths.append(path)
            number += 1
    return Saved(tuple(paths))
