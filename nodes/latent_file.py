"""Latent files: save and load."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.ports import Forwards
from latentloom.engine.node.spec import node

from .checks import as_filename_error, as_input_error, check_filename_prefix
from .ports import FilenamePrefix, Latent, LatentFile

CATEGORY = "model/latent"
LATENT_FILE = "a .latent file"


@node("SaveLatent", category=CATEGORY, output=True)
class SaveLatent:
    """Save latents as a file with the graph embedded; ComfyUI's LoadLatent reads it too.

    Args:
        samples: latents B×C×h×w; noise mask, batch index and model family are saved too.
        filename_prefix: file name in the output folder, as in SaveImage. Files are named
            `<prefix>_00001_.latent` and so on; existing files are never overwritten.

    Raises:
        InputError: the prefix leaves the output folder, or the file cannot be written.

    Source: ComfyUI's SaveLatent, which saves the samples only.
    """

    @staticmethod
    def run(
        samples: Latent, context: Context, filename_prefix: FilenamePrefix = "latents/ComfyUI"
    ) -> Annotated[Saved, Forwards("samples")]:
        from latentloom.diffusion.latents.latent_file import EXTENSION, encode_latent
        from latentloom.diffusion.latents.latents import CELL_PX
        from latentloom.engine.files.saving import (
            expand_prefix,
            next_number,
            prepare_target,
            write_numbered,
        )

        height, width = (side * CELL_PX for side in samples.shape[-2:])
        expanded = expand_prefix(filename_prefix, width, height, datetime.now())
        data = encode_latent(samples, context.embedded())
        with as_filename_error(expanded, context.output_dir):
            target = prepare_target(expanded, context.output_dir)
            path, _ = write_numbered(target, data, next_number(target), EXTENSION)
        return Saved((path,))

    @staticmethod
    def check(filename_prefix: str = "latents/ComfyUI") -> None:
        """Reject a prefix that leaves the output folder, before anything runs."""
        check_filename_prefix(filename_prefix)


@node("LoadLatent", category=CATEGORY)
class LoadLatent:
    """Load latents from a file.

    Args:
        latent: name of a file next to the graph or in the input folder; append ` [output]` for
            the output folder.

    Raises:
        InputError: the file is damaged or does not contain latents.

    Source: ComfyUI's LoadLatent.
    """

    @staticmethod
    def run(latent: LatentFile) -> Latent:
        from latentloom.diffusion.latents.latent_file import read_latent

        with as_input_error("latent", LATENT_FILE):
            return read_latent(latent)

    @staticmethod
    def check(latent: Path) -> None:
        from latentloom.diffusion.latents.latent_file import check_latent_file

        with as_input_error("latent", LATENT_FILE):
            check_latent_file(latent)

    @staticmethod
    def family(latent: Path) -> str | None:
        from latentloom.diffusion.latents.latent_file import read_latent_family

        with as_input_error("latent", LATENT_FILE):
            return read_latent_family(latent)
