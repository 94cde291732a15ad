"""The results of a sweep as files: a table, a list for programs, and a page of the images."""

from __future__ import annotations

import base64
import csv
import html
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.execution.sweep import CellResult
from latentloom.engine.files.image_formats import format_of_file

PAGE_CELLS = 200
STYLE = """
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;background:#fff;color:#111}
form{display:flex;gap:1rem;flex-wrap:wrap;margin-bottom:1rem}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(18rem,100%),1fr));gap:1rem}
figure{margin:0}figure.failed figcaption{color:#b00020}figure.chosen img{outline:4px solid #1769e0}
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


def write_results(
    folder: Path, title: str, targets: Sequence[str], results: Sequence[CellResult]
) -> list[Path]:
    """Write `sweep.csv`, `sweep.json` and pages `sweep.html`, `sweep-2.html`; return their paths.

    Args:
        folder: the output folder, which holds the images.
        targets: of the axes.
        results: in any order; they are written in that of their cells.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(results, key=lambda result: result.cell.index)
    table, manifest = folder / "sweep.csv", folder / "sweep.json"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*targets, "state", "seconds", "model calls", "file"])
        for row in rows:
            values = [row.cell.values[target] for target in targets]
            names = " ".join(_names(row, folder))
            writer.writerow([*values, row.state, f"{row.seconds:.3f}", row.model_calls, names])
    cells = [cell_to_object(row, folder) for row in rows]
    content = {"latentloom_sweep": 1, "title": title, "axes": list(targets), "cells": cells}
    manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    starts = range(0, max(1, len(rows)), PAGE_CELLS)
    pages = [
        folder / ("sweep.html" if not n else f"sweep-{n + 1}.html") for n in range(len(starts))
    ]
    for page, start in zip(pages, starts, strict=True):
        with page.open("w", encoding="utf-8") as stream:
            stream.writelines(_page(title, targets, rows[start : start + PAGE_CELLS], pages))
    return [table, manifest, *pages]


def cell_to_object(result: CellResult, folder: Path) -> dict[str, Any]:
    """Return what `sweep --json` prints of a cell; its files are named from a folder."""
    return {
        "values": dict(result.cell.values),
        "state": result.state,
        "files": _names(result, folder),
        "seconds": round(result.seconds, 3),
        "model_calls": result.model_calls,
        "errors": [str(error) for error in result.errors],
    }


def _names(result: CellResult, folder: Path) -> list[str]:
    return [Path(os.path.relpath(path, folder)).as_posix() for path in result.saved]


def _page(
    title: str, targets: Sequence[str], rows: Sequence[CellResult], pages: Sequence[Path]
) -> Iterable[str]:
    name = html.escape(title)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
    yield "<meta name=viewport content='width=device-width'>"
    yield f"<style>{STYLE}</style><h1>{name}</h1>\n"
    if len(pages) > 1:
        links = (f"<a href='{page.name}'>{n}</a>" for n, page in enumerate(pages, start=1))
        yield f"<nav>Pages {' '.join(links)}</nav>\n"
    yield "<form>"
    for target in targets:
        values = dict.fromkeys(row.cell.values[target] for row in rows)
        options = "".join(f"<option>{html.escape(value)}</option>" for value in values)
        label = html.escape(target)
        yield f"<label>{label} <select name='{label}'><option value=''>all</option>{options}"
        yield "</select></label>"
    yield "</form><p>Choose two images to compare them.</p>"
    yield "<div id=pair hidden></div><input id=slide type=range value=50 hidden "
    yield "aria-label='Share of the first image'>\n<main>\n"
    for row in rows:
        yield from _figure(row)
    yield f"</main><script>{SCRIPT}</script></html>\n"


def _figure(row: CellResult) -> Iterable[str]:
    values = html.escape(json.dumps(dict(row.cell.values)))
    caption = ", ".join(f"{name} {value}" for name, value in row.cell.values.items())
    failed = row.state in ("failed", "cancelled")
    yield f"<figure class={'failed' if failed else row.state} data-values='{values}'>"
    for path in row.saved:
        format = format_of_file(path)
        if format is not None and format.is_shown_by_browsers and path.is_file():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            alt = html.escape(caption)
            yield f"<img src='data:{format.mime};base64,{data}' alt='{alt}' title='{alt}'>"
    errors = "".join(f"<br>{html.escape(str(error))}" for error in row.errors)
    state = f"<br>{row.state}" if failed else ""
    yield f"<figcaption>{html.escape(caption)}{state}{errors}</figcaption></figure>\n"
