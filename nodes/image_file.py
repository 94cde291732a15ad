"""Image files: load, save and preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.files.folder import read_resolved
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.ports import Between, Branches, File, Forwards, Plain, Socket
from latentloom.engine.node.spec import node

from .checks import as_filename_error, as_input_error, check_filename_prefix, check_mask
from .ports import FilenamePrefix, Image, ImageAndMask, ImageFile, Mask

if TYPE_CHECKING:
    from torch import Tensor

PREVIEW_PREFIX = "ComfyUI_temp"
PREVIEW_COMPRESSION, SAVE_COMPRESSION = 1, 4
FileChannel = Literal["alpha", "red", "green", "blue"]
SavedFormat = Literal["png", "webp", "jpeg"]
SUFFIXES: Mapping[str, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
SavedImages = Annotated[Saved, Forwards("images")]
ComparedView = Annotated[object, Socket("IMAGECOMPARE"), Plain()]
OutputImageFile = Annotated[Path, File("output")]
Quality = Annotated[int, Between(1, 100)]


@node("LoadImage", category="image")
class LoadImage:
    """Load an image file.

    IMAGE is the first frame or page as 1×H×W×3, rotated by its EXIF orientation; 16-bit grey
    keeps its precision. MASK is 1 where the file is transparent, 64×64 zeros if it has no alpha.

    Args:
        image: name of a file next to the graph or in the input folder.

    Raises:
        InputError: the file is not an image, is truncated, or exceeds 64 megapixels.
    """

    @staticmethod
    def run(image: ImageFile) -> ImageAndMask:
        from latentloom.diffusion.images.images import load

        with as_input_error("image"):
            return ImageAndMask(*load(image, read_resolved))

    @staticmethod
    def check(image: Path) -> None:
        """Reject a file that cannot be loaded, before anything runs."""
        _check_image(image)


@node("LoadImageMask", category="image")
class LoadImageMask:
    """Load one channel of an image file as a mask 1×H×W.

    Args:
        image: name of a file next to the graph or in the input folder.
        channel: the channel; alpha gives 1 where the file is transparent, zeros if it has none.

    Raises:
        InputError: the file is not an image, is truncated, or exceeds 64 megapixels.
    """

    @staticmethod
    def run(image: ImageFile, channel: FileChannel = "alpha") -> Mask:
        from latentloom.diffusion.images.images import load_mask

        with as_input_error("image"):
            return load_mask(image, channel, read_resolved)

    @staticmethod
    def check(image: Path) -> None:
        """Reject a file that cannot be loaded, before anything runs."""
        _check_image(image)


@node("SaveImage", category="image", output=True)
class SaveImage:
    """Save images as PNG, WebP or JPEG files with the graph and a manifest embedded.

    Files are named `<prefix>_00001_.png`, `<prefix>_00002_.png`, ...; numbering continues after
    existing files, which are never overwritten.

    Args:
        images: images B×H×W×C; values are clamped to 0..1.
        filename_prefix: file name in the output folder, optionally with subfolders. These are
            replaced: %width%, %height%, %year%, %month%, %day%, %hour%, %minute%, %second% and
            %date:yyyy-MM-dd%.
        format: png is lossless; jpeg drops alpha, and holds graphs of up to 64 KiB;
            its manifest is left out where it does not fit.
        quality: of webp and jpeg, 1 to 100; 100 makes webp lossless.

    Raises:
        InputError: the prefix leaves the output folder, the file cannot be written, or the
            format cannot hold the image or the graph.
    """

    @staticmethod
    def run(
        images: Image,
        context: Context,
        filename_prefix: FilenamePrefix = "ComfyUI",
        format: SavedFormat = "png",
        quality: Quality = 90,
    ) -> SavedImages:
        def encode(image: Tensor, text: Mapping[str, str]) -> bytes:
            from latentloom.diffusion.images.encode import encode

            with as_input_error("images"):
                return encode(image, format, text, quality=quality, level=SAVE_COMPRESSION)

        return _save(
            images, context, context.output_dir, filename_prefix, (encode, SUFFIXES[format])
        )

    @staticmethod
    def check(filename_prefix: str = "ComfyUI") -> None:
        """Reject a prefix that leaves the output folder, before anything runs."""
        check_filename_prefix(filename_prefix)


@node("PreviewImage", category="image", output=True)
def preview_image(images: Image, context: Context) -> SavedImages:
    """Preview images, saved as PNG files in the temporary folder.

    Args:
        images: images B×H×W×C; values are clamped to 0..1.
    """
    return _save(images, context, context.temp_dir, PREVIEW_PREFIX, (_encode_preview, ".png"))


@node("MaskPreview", category="image/mask", output=True)
def mask_preview(mask: Mask, context: Context) -> Annotated[Saved, Forwards("mask")]:
    """Preview masks as greyscale images, saved as PNG files in the temporary folder.

    Args:
        mask: masks B×H×W; values are clamped to 0..1.
    """
    from latentloom.diffusion.images.masks import to_image

    check_mask("mask", mask)
    encoder = (_encode_preview, ".png")
    return _save(to_image(mask), context, context.temp_dir, PREVIEW_PREFIX, encoder)


class PngOptions(NamedTuple):
    """PNG, without loss.

    Args:
        bit_depth: bits of a channel.
        input_color_space: of the images.
    """

    bit_depth: Literal["8-bit", "16-bit"] = "8-bit"
    input_color_space: Literal["sRGB"] = "sRGB"


DEFAULT_FORMAT = PngOptions()
SavedForm = Annotated[PngOptions, Branches({"png": PngOptions})]


@node("SaveImageAdvanced", category="image", output=True)
class SaveImageAdvanced:
    """Save images as PNG files with 8 or 16 bits a channel, with the graph embedded.

    Args:
        images: images B×H×W×C; values are clamped to 0..1.
        filename_prefix: as of SaveImage.
        format: the form of the files.

    Raises:
        InputError: the prefix leaves the output folder, or the file cannot be written.
    """

    @staticmethod
    def run(
        images: Image,
        context: Context,
        filename_prefix: FilenamePrefix = "ComfyUI",
        format: SavedForm = DEFAULT_FORMAT,
    ) -> SavedImages:
        def encode(image: Tensor, text: Mapping[str, str]) -> bytes:
            from latentloom.diffusion.images.deep_png import encode_deep_png
            from latentloom.diffusion.images.images import encode_png

            encode = encode_deep_png if format.bit_depth == "16-bit" else encode_png
            return encode(image, text, SAVE_COMPRESSION)

        return _save(images, context, context.output_dir, filename_prefix, (encode, ".png"))

    @staticmethod
    def check(filename_prefix: str = "ComfyUI") -> None:
        """Reject a prefix that leaves the output folder, before anything runs."""
        check_filename_prefix(filename_prefix)


@node("ImageCompare", category="image", output=True)
def image_compare(
    context: Context,
    compare_view: ComparedView | None = None,  # noqa: ARG001 - the editor shows the images in it
    image_a: Image | None = None,
    image_b: Image | None = None,
) -> Saved:
    """Preview two batches of images, to compare them.

    Args:
        compare_view: the part of the editor that shows them; it has no value.
        image_a, image_b: images B×H×W×C; values are clamped to 0..1.
    """
    from latentloom.engine.files.saving import COMPARED

    saved = [
        _save(images, context, context.temp_dir, prefix, (_encode_preview, ".png"))
        for images, prefix in zip((image_a, image_b), COMPARED, strict=True)
        if images is not None
    ]
    return Saved(tuple(path for part in saved for path in part.paths))


@node("LoadImageOutput", category="image")
class LoadImageOutput:
    """Load an image from the output folder; IMAGE and MASK are those of LoadImage.

    Args:
        image: name of a file in the output folder.

    Raises:
        InputError: the file is not an image, is truncated, or exceeds 64 megapixels.
    """

    @staticmethod
    def run(image: OutputImageFile) -> ImageAndMask:
        return LoadImage.run(image)

    @staticmethod
    def check(image: Path) -> None:
        """Reject a file that cannot be loaded, before anything runs."""
        _check_image(image)


def _check_image(image: Path) -> None:
    from latentloom.diffusion.images.image_files import check_file

    with as_input_error("image"):
        check_file(image, read_resolved)


def _encode_preview(image: Tensor, text: Mapping[str, str]) -> bytes:
    from latentloom.diffusion.images.images import encode_png

    return encode_png(image, text, PREVIEW_COMPRESSION)


def _save(
    images: Image,
    context: Context,
    folder: Path,
    prefix: str,
    encoder: tuple[Callable[[Tensor, Mapping[str, str]], bytes], str],
) -> Saved:
    """Save images; the encoder is a function and the extension of its files."""
    from latentloom.engine.files.saving import (
        expand_prefix,
        next_number,
        prepare_target,
        write_numbered,
    )

    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        expected = "images B×H×W×C with 1, 3 or 4 channels"
        raise InputError("images", expected, tuple(images.shape))
    expanded = expand_prefix(prefix, images.shape[2], images.shape[1], datetime.now())
    text, paths, (encode, suffix) = context.embedded(), [], encoder
    with as_filename_error(expanded, folder):
        target = prepare_target(expanded, folder)
        number = next_number(target)
        for image in images:
            context.check()
            path, number = write_numbered(target, encode(image, text), number, suffix)
            paths.append(path)
            number += 1
    return Saved(tuple(paths))
