"""Report of the passes over an image: the change inside and outside a mask, and their cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from torch import Tensor

from ..images.images import to_bytes
from ..images.lab import delta_e, to_lab
from ..latents.latents import SamplePass


@dataclass(frozen=True)
class ImageChange:
    """The difference of a part of an image from its source, in 8-bit levels as saved.

    Attributes:
        pixels: number of pixels in the part.
        changed: number of pixels that differ.
        psnr_db: peak signal to noise ratio; None if no pixel differs.
        delta_e: mean CIEDE2000.
    """

    pixels: int
    changed: int
    psnr_db: float | None
    delta_e: float


@dataclass(frozen=True)
class PassRow:
    """One pass; what was not measured is None."""

    sampled: SamplePass | None = None
    inside: ImageChange | None = None
    outside: ImageChange | None = None


@dataclass(frozen=True)
class PassReport:
    """The passes of a graph, in order."""

    rows: tuple[PassRow, ...] = ()

    @property
    def inside_change(self) -> int | None:
        """Number of pixels inside the mask that the last pass left changed; None if unmeasured."""
        inside = self.rows[-1].inside if self.rows else None
        return None if inside is None else inside.changed

    @property
    def outside_change(self) -> int | None:
        """The same outside the mask."""
        outside = self.rows[-1].outside if self.rows else None
        return None if outside is None else outside.changed

    @property
    def scores(self) -> dict[str, float]:
        """The change that the last row has, such as `outside_delta_e`; no PSNR without change."""
        last = self.rows[-1] if self.rows else PassRow()
        parts = {"inside": last.inside, "outside": last.outside}
        return {
            f"{name}_{measure}": number
            for name, part in parts.items()
            if part is not None
            for measure, number in asdict(part).items()
            if number is not None
        }


def extend(
    report: PassReport,
    passes: tuple[SamplePass, ...],
    source: Tensor,
    image: Tensor,
    mask: Tensor | None,
) -> PassReport:
    """Return the report with the new passes, and the change of the image after the last.

    Args:
        passes: all passes of the image's latent.
        source, image: B×H×W×C of one size.
        mask: B×H×W over them, above 0 inside; without a mask everything is inside.
    """
    rows = [PassRow(sampled=new) for new in passes[len(report.rows) :]] or [PassRow()]
    inside, outside = _measure_parts(source, image, mask)
    rows[-1] = replace(rows[-1], inside=inside, outside=outside)
    return PassReport((*report.rows, *rows))


def _measure_parts(
    source: Tensor, image: Tensor, mask: Tensor | None
) -> tuple[ImageChange | None, ImageChange | None]:
    source, image = source[..., :3].expand_as(image[..., :3]), image[..., :3]
    if mask is None:
        return _measure(source, image), None
    inside = mask.expand(image.shape[:3]) > 0
    return _measure(source[inside], image[inside]), _measure(source[~inside], image[~inside])


def _measure(source: Tensor, image: Tensor) -> ImageChange | None:
    """Return the change of N×3 pixels; None if there are none."""
    before, after = to_bytes(source).reshape(-1, 3), to_bytes(image).reshape(-1, 3)
    if not len(before):
        return None
    changed = int((before != after).any(dim=-1).sum())
    error = float(((before.double() - after.double()) ** 2).mean())
    psnr = 10 * math.log10(255**2 / error) if error else None
    difference = float(delta_e(to_lab(before / 255.0), to_lab(after / 255.0)).mean())
    return ImageChange(len(before), changed, psnr, difference)


def to_json(report: PassReport) -> str:
    """Return the report as JSON: a list of passes under `passes`."""
    return json.dumps({"passes": [asdict(row) for row in report.rows]}, indent=2)


HEAD = (
    "pass", "sampler", "steps", "first sigma", "calls", "seconds",
    "in PSNR", "in dE", "out PSNR", "out dE", "out changed",
)  # fmt: skip


def to_table(report: PassReport) -> str:
    """Return the report as a table, a line for each pass; why passes ran eagerly follows."""
    rows = list(enumerate(report.rows, start=1))
    lines = [HEAD, *(_cells(number, row) for number, row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    notes = [
        f"pass {number} ran eagerly: {row.sampled.eager_reason}"
        for number, row in rows
        if row.sampled is not None and row.sampled.eager_reason is not None
    ]
    return "\n".join([*("  ".join(_pad(line, widths)).rstrip() for line in lines), *notes])


def _pad(line: Iterable[str], widths: list[int]) -> Iterable[str]:
    return (cell.ljust(width) for cell, width in zip(line, widths, strict=True))


def _cells(number: int, row: PassRow) -> tuple[str, ...]:
    done = row.sampled
    sampled = ("-",) * 5
    if done is not None:
        sampled = (
            f"{done.sampler}/{done.scheduler}", f"{done.steps}", f"{done.first_sigma:.3f}",
            _format_calls(done), f"{done.seconds:.2f}",
        )  # fmt: skip
    changed = f"{row.outside.changed} of {row.outside.pixels}" if row.outside else "-"
    return (
        f"{number}",
        *sampled,
        *_format_change(row.inside),
        *_format_change(row.outside),
        changed,
    )


def _format_calls(done: SamplePass) -> str:
    captured = f" ({done.captured_calls} captured)" if done.captured_calls else ""
    return f"{done.model_calls}{captured}"


def _format_change(change: ImageChange | None) -> tuple[str, str]:
    if change is None:
        return "-", "-"
    return _format_decibels(change.psnr_db), f"{change.delta_e:.2f}"


def _format_decibels(value: float | None) -> str:
    return "same" if value is None else f"{value:.1f} dB"
