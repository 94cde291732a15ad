"""What passes did to an image: change inside and outside a mask, and what each pass cost."""

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
    """How far a part of an image is from its source, in saved 8-bit levels.

    Attributes:
        pixels: how many the part has.
        changed: how many of them differ.
        psnr_db: peak signal to noise ratio; None where nothing differs.
        delta_e: mean CIEDE2000.
    """

    pixels: int
    changed: int
    psnr_db: float | None
    delta_e: float


@dataclass(frozen=True)
class PassRow:
    """One pass; figures that nobody measured are None."""

    sampled: SamplePass | None = None
    inside: ImageChange | None = None
    outside: ImageChange | None = None


@dataclass(frozen=True)
class PassReport:
    """The passes of a graph, in order."""

    rows: tuple[PassRow, ...] = ()


def extend(
    report: PassReport,
    passes: tuple[SamplePass, ...],
    source: Tensor,
    image: Tensor,
    mask: Tensor | None,
) -> PassReport:
    """The report with the passes that are new, and what the image is like after the last.

    Args:
        passes: all that the image's latent went through.
        source, image: B×H×W×C of one size.
        mask: B×H×W over them; more than 0 is inside. Everything is, without one.
    """
    rows = [PassRow(sampled=each) for each in passes[len(report.rows) :]] or [PassRow()]
    inside, outside = _changes(source, image, mask)
    rows[-1] = replace(rows[-1], inside=inside, outside=outside)
    return PassReport((*report.rows, *rows))


def _changes(
    source: Tensor, image: Tensor, mask: Tensor | None
) -> tuple[ImageChange | None, ImageChange | None]:
    source, image = source[..., :3].expand_as(image[..., :3]), image[..., :3]
    if mask is None:
        return _change(source, image), None
    inside = mask.expand(image.shape[:3]) > 0
    return _change(source[inside], image[inside]), _change(source[~inside], image[~inside])


def _change(source: Tensor, image: Tensor) -> ImageChange | None:
    """None where the part is empty."""
    before, after = to_bytes(source).reshape(-1, 3), to_bytes(image).reshape(-1, 3)
    if not len(before):
        return None
    changed = int((before != after).any(dim=-1).sum())
    error = float(((before.double() - after.double()) ** 2).mean())
    psnr = 10 * math.log10(255**2 / error) if error else None
    seen = float(delta_e(to_lab(before / 255.0), to_lab(after / 255.0)).mean())
    return ImageChange(len(before), changed, psnr, seen)


def to_json(report: PassReport) -> str:
    """The report as JSON: a list of passes under `passes`."""
    return json.dumps({"passes": [asdict(row) for row in report.rows]}, indent=2)


HEAD = (
    "pass", "sampler", "steps", "first sigma", "calls", "seconds",
    "in PSNR", "in dE", "out PSNR", "out dE", "out changed",
)  # fmt: skip


def to_table(report: PassReport) -> str:
    """The report as a table, a line for each pass."""
    lines = [HEAD, *(_cells(number, row) for number, row in enumerate(report.rows, start=1))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join(_padded(line, widths)).rstrip() for line in lines)


def _padded(line: Iterable[str], widths: list[int]) -> Iterable[str]:
    return (cell.ljust(width) for cell, width in zip(line, widths, strict=True))


def _cells(number: int, row: PassRow) -> tuple[str, ...]:
    done = row.sampled
    facts = ("-",) * 5
    if done is not None:
        facts = (
            f"{done.sampler}/{done.scheduler}", f"{done.steps}", f"{done.first_sigma:.3f}",
            f"{done.model_calls}", f"{done.seconds:.2f}",
        )  # fmt: skip
    changed = f"{row.outside.changed} of {row.outside.pixels}" if row.outside else "-"
    return (f"{number}", *facts, *_figures(row.inside), *_figures(row.outside), changed)


def _figures(change: ImageChange | None) -> tuple[str, str]:
    if change is None:
        return "-", "-"
    return _decibels(change.psnr_db), f"{change.delta_e:.2f}"


def _decibels(value: float | None) -> str:
    return "same" if value is None else f"{value:.1f} dB"
