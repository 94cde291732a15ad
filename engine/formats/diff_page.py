"""The differences of two graphs as one HTML page: drawings with marks, and results with a slider.

The page loads nothing: its style, script and images are inside.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from ..errors import FormatError
from ..graph.diff import Change, GraphDiff
from ..graph.graph import Graph, InputRef
from ..node.image_service import ImageComparison
from .drawing import STATE_COLOURS, Drawing, Specs, draw
from .drawing_files import as_svg

MAX_SHOWN_CHARS = 400
STYLE = """
body{font:14px/1.45 system-ui,'Segoe UI','DejaVu Sans',sans-serif;margin:24px;color:#1f2933;
background:#fff}
h1{font-size:20px;margin:0 0 4px} h2{font-size:15px;margin:24px 0 8px}
p{margin:4px 0;color:#68737f} ul{list-style:none;margin:8px 0;padding:0}
li{margin:2px 0} li button{font:13px ui-monospace,'DejaVu Sans Mono',monospace;text-align:left;
border:0;border-left:4px solid var(--c);background:#f4f6f8;padding:4px 10px;width:100%;
cursor:pointer;color:inherit;white-space:pre-wrap;overflow-wrap:anywhere}
li button:hover,li button:focus{background:#e8ecf1}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:12px} .pair>div{min-width:0}
.view{overflow:auto;max-height:75vh;border:1px solid #c3c9d2;border-radius:6px;background:#f4f6f8}
.view svg{display:block} .legend span{border-left:12px solid var(--c);padding:0 12px 0 6px}
.result{position:relative;display:inline-block;max-width:100%}
.result img{display:block;max-width:100%;image-rendering:auto}
.result img+img{position:absolute;inset:0;width:100%;height:100%;object-fit:contain;
clip-path:inset(0 0 0 var(--cut,50%))}
.slide{display:block;width:100%;max-width:900px}
table{border-collapse:collapse;margin:8px 0}td,th{padding:2px 12px;text-align:right}
tr>:first-child{text-align:left}
@media(max-width:900px){.pair{grid-template-columns:1fr}}
"""
SCRIPT = """
for (const button of document.querySelectorAll('li button')) button.onclick = () => {
  for (const side of ['old', 'new']) {
    const at = button.dataset[side], view = document.getElementById(side);
    if (!at || !view) continue;
    const [x, y] = at.split(' ').map(Number);
    view.scrollTo({left: x - 60, top: y - 60, behavior: 'smooth'});
  }
};
for (const slide of document.querySelectorAll('.slide'))
  slide.oninput = () => slide.previousElementSibling.style.setProperty('--cut', slide.value + '%');
"""


NO_DIFF = GraphDiff((), {})
"""The difference of graphs that were not compared."""


class ResultImage(NamedTuple):
    """An image that a graph gave: its bytes and their MIME type."""

    data: bytes
    mime: str


class Side(NamedTuple):
    """One of the graphs: its name on the page, and the images that it gave."""

    name: str
    graph: Graph
    images: Sequence[ResultImage] = ()


def diff_page(
    old: Side,
    new: Side,
    difference: GraphDiff,
    specs: Specs,
    comparisons: Sequence[ImageComparison | None] = (),
) -> str:
    """Return the text of the page.

    Args:
        difference: of the two graphs, made comparable.
        comparisons: of the images of both sides, in pairs.
    """
    origins = {after: before for before, after in difference.names.items()}
    drawn = tuple(
        _draw(side.graph, difference, origins, specs, is_new)
        for side, is_new in ((old, False), (new, True))
    )
    changes = difference.changes
    count = f"{len(changes)} difference{'' if len(changes) == 1 else 's'}"
    title = f"{escape(old.name)} → {escape(new.name)}"
    body = [
        f"<h1>{title}</h1><p>{count}</p>",
        f"<ul>{''.join(_item(change, origins, drawn) for change in changes)}</ul>",
        *_results(old, new, comparisons),
    ]
    if old.graph.nodes or new.graph.nodes:
        body += [
            "<h2>Graphs</h2>",
            f'<p class="legend">{_legend()}</p><div class="pair">',
            *(
                f"<div><p>{escape(side.name)}</p>"
                f'<div class="view" id="{key}">{_svg(drawing)}</div></div>'
                for side, key, drawing in zip((old, new), ("old", "new"), drawn, strict=True)
            ),
            "</div>",
        ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(body)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def _draw(
    graph: Graph,
    difference: GraphDiff,
    origins: dict[str, str],
    specs: Specs,
    is_new: bool,
) -> Drawing | str:
    """Return the drawing of one side with its marks, or why there is none."""
    states: dict[str, str] = {}
    marked: set[tuple[str, str]] = set()
    for change in difference.changes:
        if change.kind in ("added", "removed"):
            states[change.node] = change.kind if is_new == (change.kind == "added") else ""
        elif change.node:
            id = change.node if is_new else origins.get(change.node, "")
            states.setdefault(id, "changed")
            marked.add((id, change.input))
        elif change.kind == "graph_input":
            for id, port in _uses(graph, change.input):
                states.setdefault(id, "changed")
                marked.add((id, port))
    shown = {id: state for id, state in states.items() if state}
    try:
        return draw(graph.bound(), specs, shown, marked)
    except FormatError as error:
        return str(error)


def _uses(graph: Graph, name: str) -> Iterator[tuple[str, str]]:
    """Yield node and port of each use of a graph input."""
    for id, node in graph.nodes.items():
        for port, value in node.inputs.items():
            if isinstance(value, InputRef) and value.name == name:
                yield id, port


def _svg(drawing: Drawing | str) -> str:
    return f"<p>{escape(drawing)}</p>" if isinstance(drawing, str) else as_svg(drawing)


def _item(change: Change, origins: dict[str, str], drawn: Sequence[Drawing | str]) -> str:
    state = change.kind if change.kind in ("added", "removed") else "changed"
    ids = (change.node if state == "removed" else origins.get(change.node, ""), change.node)
    positions = []
    for key, id, drawing in zip(("old", "new"), ids, drawn, strict=True):
        corner = drawing.corners.get(id) if isinstance(drawing, Drawing) else None
        if corner is not None:
            positions.append(f' data-{key}="{corner.x:.0f} {corner.y:.0f}"')
    text = escape(str(change)[:MAX_SHOWN_CHARS])
    style = f'style="--c:{STATE_COLOURS[state]}"'
    return f"<li><button {style}{''.join(positions)}>{text}</button></li>"


def _legend() -> str:
    return "".join(
        f'<span style="--c:{STATE_COLOURS[key]}">{key}</span>'
        for key in ("added", "removed", "changed")
    )


def _results(old: Side, new: Side, comparisons: Sequence[ImageComparison | None]) -> Iterator[str]:
    """Yield the images in pairs, one over the other with a slider; then those of one side."""
    if old.images or new.images:
        yield "<h2>Results</h2>"
    for index, (before, after) in enumerate(zip(old.images, new.images, strict=False)):
        yield (
            f'<p>left {escape(old.name)}, right {escape(new.name)}</p><div class="result">'
            f"{_image(before, old.name)}{_image(after, new.name)}</div>"
            '<input class="slide" type="range" min="0" max="100" value="50" aria-label="where">'
        )
        comparison = comparisons[index] if index < len(comparisons) else None
        if comparison is not None:
            yield from _comparison(comparison)
    paired = min(len(old.images), len(new.images))
    for side in (old, new):
        for image in side.images[paired:]:
            yield f'<p>{escape(side.name)}</p><div class="result">{_image(image, side.name)}</div>'


def _comparison(comparison: ImageComparison) -> Iterator[str]:
    """Yield the numbers and the heat map of a comparison."""
    yield "<table><tr><th></th><th>pixels</th><th>changed</th><th>PSNR</th><th>SSIM</th>"
    yield "<th>mean ΔE</th></tr>"
    for name, part in (
        ("all", comparison.everything),
        ("inside the mask", comparison.inside),
        ("outside the mask", comparison.outside),
    ):
        if part is not None:
            psnr = f"{part.psnr_db:.1f} dB" if part.changed else "same"
            ssim = "–" if part.ssim is None else f"{part.ssim:.4f}"
            cells = (str(part.pixels), str(part.changed), psnr, ssim, f"{part.delta_e:.3f}")
            yield f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>"
    heat = ResultImage(comparison.heat.data, comparison.heat.mime)
    yield '<p>heat map: dark is the same, yellow a ΔE of 20 or more</p><div class="result">'
    yield f"{_image(heat, 'heat map')}</div>"


def _image(image: ResultImage, name: str) -> str:
    data = base64.b64encode(image.data).decode("ascii")
    return f'<img alt="{escape(name)}" src="data:{image.mime};base64,{data}">'
