"""`latentloom compare`: the differences of two graphs and of the images that they gave."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError, InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.formats import load_graph, name_outputs, save_text
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.formats.diff_page import NO_DIFF, Side, diff_page
from latentloom.engine.graph.diff import GraphDiff, diff
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.image_service import ImageComparison, PartComparison, image_service
from latentloom.engine.node.registry import Registry

from .comparing import DIFFERENT, SAME, change_to_object
from .opening import open_workspace
from .results import read_results
from .views import format_table, to_json

SHADES = " .:-=+*#%@"
FULL_SHADE = 20.0
"""The mean CIEDE2000 of a cell that has the last shade, as in heat maps."""


@dataclass(frozen=True)
class Pair:
    """Two images and their difference, or why they cannot be compared."""

    comparison: ImageComparison | None
    reason: str = ""


def compare_results(options: argparse.Namespace, paths: tuple[Path, Path], engine: Engine) -> int:
    """Print how two graphs or images differ; return 1 if they do, else 0.

    Raises:
        FormatError: a file is neither an image nor a graph, or the graphs gave no images.
        InputError: the mask cannot be read.
        OSError: a file cannot be read, or the page not written.
    """
    registry = engine.registry
    graphs = [_load(path, registry) for path in paths]
    sides = [
        Side(
            path.name,
            name_outputs(graph or Graph(), registry),
            read_results(path, graph or Graph(), engine, open_workspace(options, path)),
        )
        for path, graph in zip(paths, graphs, strict=True)
    ]
    difference = None
    if graphs[0] is not None and graphs[1] is not None:
        difference = diff(*comparable(graphs[0], graphs[1], registry))
    mask = Path(options.mask).read_bytes() if options.mask else None
    pairs = _compare(sides, mask, registry)
    if difference is None and not pairs:
        names = " and ".join(path.name for path in paths)
        raise FormatError(f"{names}: expected two graphs or two images, got one of each")
    if options.html:
        comparisons = [pair.comparison for pair in pairs]
        page = diff_page(sides[0], sides[1], difference or NO_DIFF, registry, comparisons)
        save_text(page, Path(options.html))
    is_same = not (difference and difference.changes) and all(_is_same(pair) for pair in pairs)
    if options.json:
        print(to_json(_to_object(is_same, difference, pairs)))
    else:
        _print(sides, difference, pairs)
    return SAME if is_same else DIFFERENT


def _load(path: Path, registry: Registry) -> Graph | None:
    """Return the graph of a file; None for an image without one."""
    try:
        return load_graph(path, registry)
    except FormatError:
        if is_image_name(path):
            return None
        raise


def _compare(sides: Sequence[Side], mask: bytes | None, registry: Registry) -> list[Pair]:
    service, pairs = image_service(registry), []
    for first, second in zip(sides[0].images, sides[1].images, strict=False):
        try:
            pairs.append(Pair(service.compare(first.data, second.data, mask)))
        except InputError as error:
            if "mask" in error.expected:
                raise FormatError(f"--mask: expected {error.expected}, got {error.got}") from error
            pairs.append(Pair(None, f"expected {error.expected}, got {error.got}"))
    return pairs


def _is_same(pair: Pair) -> bool:
    return pair.comparison is not None and pair.comparison.max_levels == 0


def _print(sides: Sequence[Side], difference: GraphDiff | None, pairs: Sequence[Pair]) -> None:
    if difference is None:
        print("graphs: not compared, as an image carries none")
    else:
        count = len(difference.changes)
        print(f"graphs: {count or 'no'} difference{'' if count == 1 else 's'}")
        for change in difference.changes:
            print(f"  {change}")
    if not pairs:
        print("images: none to compare; run both graphs first")
    for pair in pairs:
        print(format_comparison(pair.comparison) if pair.comparison else f"images: {pair.reason}")
    counts = [len(side.images) for side in sides]
    if pairs and counts[0] != counts[1]:
        print(f"{counts[0]} and {counts[1]} images; {len(pairs)} compared", file=sys.stderr)


def format_comparison(comparison: ImageComparison) -> str:
    """Return the numbers of a comparison as a table, and its differences as shaded cells."""
    parts = [
        ("all", comparison.everything),
        ("inside the mask", comparison.inside),
        ("outside the mask", comparison.outside),
    ]
    rows = [(name, *_cells(part)) for name, part in parts if part is not None]
    head = (
        f"{comparison.width}×{comparison.height}",
        "pixels",
        "changed",
        "PSNR",
        "SSIM",
        "delta-E",
    )
    lines = [format_table(head, rows)]
    if comparison.alpha_changed:
        lines.append(f"alpha differs in {comparison.alpha_changed} pixels")
    if comparison.max_levels:
        last = len(SHADES) - 1
        top = "+" + "-" * len(comparison.grid[0]) + "+"
        shades = (
            "".join(SHADES[min(last, -int(-last * value // FULL_SHADE))] for value in row)
            for row in comparison.grid
        )
        lines += [top, *(f"|{row}|" for row in shades), top]
        lines.append(
            f"mean delta-E of each cell: blank is none, {SHADES[-1]} {FULL_SHADE:g} or more"
        )
    return "\n".join(lines)


def _cells(part: PartComparison) -> tuple[str, ...]:
    psnr = f"{part.psnr_db:.1f} dB" if part.changed else "same"
    ssim = "-" if part.ssim is None else f"{part.ssim:.4f}"
    return f"{part.pixels}", f"{part.changed}", psnr, ssim, f"{part.delta_e:.3f}"


def _to_object(
    is_same: bool, difference: GraphDiff | None, pairs: Sequence[Pair]
) -> dict[str, Any]:
    changes = None if difference is None else [change_to_object(c) for c in difference.changes]
    images = [_pair_to_object(pair) for pair in pairs]
    return {"status": "same" if is_same else "different", "changes": changes, "images": images}


def _pair_to_object(pair: Pair) -> dict[str, Any]:
    comparison = pair.comparison
    if comparison is None:
        return {"error": pair.reason}
    parts = {
        name: None if part is None else asdict(part)
        for name, part in (
            ("all", comparison.everything),
            ("inside", comparison.inside),
            ("outside", comparison.outside),
        )
    }
    return {
        "width": comparison.width,
        "height": comparison.height,
        **parts,
        "max_levels": comparison.max_levels,
        "alpha_changed": comparison.alpha_changed,
        "grid": [[round(value, 4) for value in row] for row in comparison.grid],
    }
