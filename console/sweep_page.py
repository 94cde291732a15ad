"""The results of a sweep as pages of HTML that hold the images, to filter and to compare."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from latentloom.engine.execution.sweep import CellResult
from latentloom.engine.execution.sweep_table import SweepTable
from latentloom.engine.files.image_formats import format_of_file

PAGE_CELLS = 200
STYLE = """
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;background:#fff;color:#111}
form{display:flex;gap:1rem;flex-wrap:wrap;margin-bottom:1rem}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(18rem,100%),1fr));gap:1rem}
figure{margin:0}figure.best img{outline:4px solid #e0a100}
figure.failed figcaption{color:#b00020}figure.chosen img{outline:4px solid #1769e0}
figure img{max-width:100%;display:block;cursor:pointer}figcaption{padding-top:.3rem}
#pair{position:relative;display:inline-block;margin-bottom:1rem}#pair img{display:block}
#pair img+img{position:absolute;inset:0}#pair[hidden],#slide[hidden]{display:none}
#slide{display:block;width:min(40rem,100%)}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}}
"""
SCRIPT = """
const figures=[...document.querySelectorAll('figure')],chosen=[];
const pair=document.getElementById('pair'),slide=document.getElementById('slide');
function filter(){const want=[...document.querySelectorAll('select')].map(s=>[s.name,s.value]);
for(const f of figures){const own=JSON.parse(f.dataset.values);
f.hidden=want.some(([n,v])=>v&&own[n]!==v)}}
document.querySelectorAll('select').forEach(s=>s.onchange=filter);
function move(){const b=pair.querySelectorAll('img')[1];
if(b)b.style.clipPath=`inset(0 0 0 ${slide.value}%)`}
slide.oninput=move;
for(const f of figures)for(const i of f.querySelectorAll('img'))i.onclick=()=>{
chosen.push(f);if(chosen.length>2)chosen.shift().classList.remove('chosen');
f.classList.add('chosen');if(chosen.length<2)return;
pair.replaceChildren(...chosen.map(c=>c.querySelector('img').cloneNode()));
pair.hidden=slide.hidden=false;move();pair.scrollIntoView()};
"""


def write_pages(folder: Path, title: str, table: SweepTable) -> list[Path]:
    """Write pages `sweep.html`, `sweep-2.html` with the images of all cells; return their paths."""
    rows = table.results
    starts = range(0, max(1, len(rows)), PAGE_CELLS)
    pages = [
        folder / ("sweep.html" if not n else f"sweep-{n + 1}.html") for n in range(len(starts))
    ]
    for page, start in zip(pages, starts, strict=True):
        with page.open("w", encoding="utf-8") as stream:
            stream.writelines(_page(title, table, rows[start : start + PAGE_CELLS], pages))
    return pages


def _page(
    title: str, table: SweepTable, rows: Sequence[CellResult], pages: Sequence[Path]
) -> Iterable[str]:
    name = html.escape(title)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
    yield "<meta name=viewport content='width=device-width'>"
    yield f"<style>{STYLE}</style><h1>{name}</h1>\n"
    if len(pages) > 1:
        links = (f"<a href='{page.name}'>{n}</a>" for n, page in enumerate(pages, start=1))
        yield f"<nav>Pages {' '.join(links)}</nav>\n"
    yield "<form>"
    for target in (axis.name for axis in table.axes):
        values = dict.fromkeys(row.cell.values[target] for row in rows)
        options = "".join(f"<option>{html.escape(value)}</option>" for value in values)
        label = html.escape(target)
        yield f"<label>{label} <select name='{label}'><option value=''>all</option>{options}"
        yield "</select></label>"
    yield "</form><p>Choose two images to compare them.</p>"
    yield "<div id=pair hidden></div><input id=slide type=range value=50 hidden "
    yield "aria-label='Share of the first image'>\n<main>\n"
    for row in rows:
        yield from _figure(row, table)
    yield f"</main><script>{SCRIPT}</script></html>\n"


def _figure(row: CellResult, table: SweepTable) -> Iterable[str]:
    values = html.escape(json.dumps(dict(row.cell.values)))
    caption = ", ".join(f"{name} {value}" for name, value in row.cell.values.items())
    failed = row.state in ("failed", "cancelled")
    kind = "failed" if failed else "best" if row in table.best else row.state
    yield f"<figure class={kind} data-values='{values}'>"
    for path in row.saved:
        format = format_of_file(path)
        if format is not None and format.is_shown_by_browsers and path.is_file():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            alt = html.escape(caption)
            yield f"<img src='data:{format.mime};base64,{data}' alt='{alt}' title='{alt}'>"
    errors = "".join(f"<br>{html.escape(str(error))}" for error in row.errors)
    state = f"<br>{row.state}" if failed else ""
    scores = "".join(f"<br>{html.escape(name)} {row.scores[name]:.4g}" for name in row.scores)
    value = table.value(row)
    ranked = f"<br><b>value {value:.4g}</b>" if value is not None else ""
    yield f"<figcaption>{html.escape(caption)}{state}{errors}{scores}{ranked}"
    yield "</figcaption></figure>\n"
