"""Reports: what passes did to an image, and what they cost."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.ports import Socket
from latentloom.engine.node.spec import node

from .checks import as_filename_error, as_input_error, check_filename_prefix, check_mask
from .ports import FilenamePrefix, Image, Latent, Mask

if TYPE_CHECKING:
    from latentloom.diffusion.sampling import report

Report = Annotated["report.PassReport", Socket("REPORT")]


@node("PassReport", category="image/report")
def pass_report(
    source: Image,
    image: Image,
    latent: Latent,
    mask: Mask | None = None,
    previous: Report | None = None,
) -> Report:
    """Measure what sampling changed, inside and outside a mask, as it will be saved.

    Each pass that the latent went through has a line: sampler, steps, first noise level, model
    calls, seconds. The line of the last one says how far the image is from its source: PSNR in
    dB, mean CIEDE2000, pixels that differ.

    Args:
        source: the image B×H×W×C before the first pass.
        image: the image after the last pass, of the same size or cut to whole latent cells.
        latent: what the last pass gave.
        mask: masks B×H×W; more than 0 is inside, everything without one.
        previous: the report of an earlier pass, whose lines come first.

    Raises:
        InputError: the sizes do not fit.
    """
    from latentloom.diffusion.images.paste import cut_like
    from latentloom.diffusion.sampling.report import PassReport as Lines
    from latentloom.diffusion.sampling.report import extend

    check_mask("mask", mask)
    with as_input_error("image"):
        before, inside = cut_like(image, source, mask)
    return extend(previous or Lines(), latent.passes, before, image, inside)


@node("SaveReport", category="image/report", output=True)
class SaveReport:
    """Save a report as JSON, and show it as a table.

    Args:
        report: from PassReport.
        filename_prefix: name, perhaps with folders, inside the output folder; numbered as
            images are.

    Raises:
        InputError: the prefix leaves the output folder, or no file can be written there.
    """

    @staticmethod
    def run(report: Report, context: Context, filename_prefix: FilenamePrefix = "report") -> Saved:
        from latentloom.diffusion.sampling.report import to_json, to_table
        from latentloom.engine.files.saving import (
            expand_prefix,
            next_number,
            prepare_target,
            write_numbered,
        )

        expanded = expand_prefix(filename_prefix, 0, 0, datetime.now())
        data = f"{to_json(report)}\n".encode()
        with as_filename_error(expanded, context.output_dir):
            target = prepare_target(expanded, context.output_dir)
            path, _ = write_numbered(target, data, next_number(target), ".json")
        return Saved((path,), to_table(report))

    @staticmethod
    def check(filename_prefix: str = "report") -> None:
        """Refuse a prefix that leaves the output folder before anything runs."""
        check_filename_prefix(filename_prefix)
