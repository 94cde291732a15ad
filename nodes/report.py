"""Reports: how much sampling passes changed an image, and what they cost."""

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


@node("PassReport", category="image/report", score=True)
def pass_report(
    source: Image,
    image: Image,
    latent: Latent,
    mask: Mask | None = None,
    previous: Report | None = None,
) -> Report:
    """Measure how much sampling changed an image, inside and outside a mask.

    The report has a line for each sampling pass of the latent: sampler, steps, first sigma, model
    calls and seconds. The last line also compares the image with its source, as saved in 8 bits:
    PSNR in dB, mean CIEDE2000, and the number of pixels that differ.

    Args:
        source: the image B×H×W×C before the first pass.
        image: the image after the last pass, of the same size or cropped to whole latent cells.
        latent: the latent after the last pass.
        mask: masks B×H×W; above 0 is inside. Without a mask, everything is inside.
        previous: the report of earlier passes; its lines come first.

    Raises:
        InputError: the sizes do not fit.
    """
    from latentloom.diffusion.images.paste import crop_like
    from latentloom.diffusion.sampling import report

    check_mask("mask", mask)
    with as_input_error("image"):
        before, inside = crop_like(image, source, mask)
    return report.extend(previous or report.PassReport(), latent.passes, before, image, inside)


@node("SaveReport", category="image/report", output=True)
class SaveReport:
    """Save a report as JSON, and show it as a table.

    Args:
        report: the report, from PassReport.
        filename_prefix: file name in the output folder, optionally with subfolders; numbered
            like images.

    Raises:
        InputError: the prefix leaves the output folder, or the file cannot be written.
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
        """Reject a prefix that leaves the output folder, before anything runs."""
        check_filename_prefix(filename_prefix)
