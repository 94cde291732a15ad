"""Damage graph files and read them: `python -m tests.fuzz 100000`, or `make test-fuzz`.

Each case is a good file whose values, text or bytes were changed at random. It must be read or
refused with an error of this project, within a limit of processor time; what was read must be
written in every form, drawn, compared and merged. A failure is printed with its seed, which runs
it again.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import latentloom
from latentloom.engine.errors import LatentloomError
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import (
    dump_graph,
    load_graph,
    losses,
    name_outputs,
    parse_graph,
    readable,
)
from latentloom.engine.formats.builder_code import as_python
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.formats.drawing import draw
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.lint import lint
from latentloom.engine.graph.merge import merge
from latentloom.engine.graph.validate import check
from tests.paths import ROOT

REGISTRY = latentloom.registry()
LIMIT_S = 10.0
FORMS = ("yaml", "json", "comfy", "editor")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**64, -(2**70), 0.5, -0.0, 1e308, 1e-320,
    "", " ", "a", "$", "$$", "$a.b", "$model.MODEL", "${x}", "${denoise[9]}", "${denoise}", "*",
    "1", "é漢\u202e", "\x00", "\ud800", "a\nb", "x" * 3000, "{a|b}", "%date%", "-10", "true",
    "nan", [], [[]], [None], ["1", 0], ["3", 5], [1, 2, 3], {}, {"a": 1}, {"__value__": [1]},
    {"0": 1, "1": 2},
    "KSampler", "Note", "Reroute", "PrimitiveNode", "SetNode", "workflow>x", "randomize", "fixed",
)  # fmt: skip
PARAMETERS = """a house <lora:x:0.5>, [b:c:0.5], [d]
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 64x64, Model: demo, VAE: demo,\
 Denoising strength: 0.5, Clip skip: 2, Hires upscale: 2, Hires upscaler: Latent,\
 Hires prompt: "a, b", Lora hashes: "x: 12ab", ADetailer model: face_yolov8n.pt, Version: v1.9.4"""


class TooSlowError(Exception):
    """A case took longer than LIMIT_S."""


def main(arguments: list[str]) -> int:
    """Run cases from a first seed on and print failures; 1 if there are any."""
    count = int(arguments[0]) if arguments else 10_000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    sources = list(_sources())
    failed, begin, slowest = 0, time.monotonic(), (0.0, 0)
    signal.signal(signal.SIGPROF, _stop)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            try:
                _run(random.Random(seed), sources, Path(folder))
            except Exception:  # noqa: BLE001 - whatever a case raises is the result
                failed += 1
                sys.stdout.write(f"--- seed {seed}\n{traceback.format_exc()[-1500:]}\n")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, (time.process_time() - started, seed))
            if (seed + 1) % 1000 == 0:
                spent = time.monotonic() - begin
                memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                done = f"{seed + 1 - first} cases, {failed} failed"
                sys.stdout.write(f"{done}, {spent:.0f} s, {memory_mb} MB at most\n")
                sys.stdout.flush()
    sys.stdout.write(f"done; the slowest took {slowest[0]:.2f} s, seed {slowest[1]}\n")
    return int(failed > 0)


def _stop(_signal: int, _frame: object) -> None:
    raise TooSlowError(f"longer than {LIMIT_S} s")


def _sources() -> Iterator[Any]:
    """Yield good files: parsed, or the text of A1111."""
    for path in sorted((ROOT / "graphs").glob("*.yaml")):
        yield yaml.safe_load(path.read_text("utf-8"))
        graph = name_outputs(load_graph(path, REGISTRY), REGISTRY)
        for form in ("comfy", "editor"):
            with contextlib.suppress(LatentloomError):
                yield json.loads(dump_graph(graph, form, REGISTRY))
    for path in sorted((ROOT / "tests").rglob("goldens/**/*.json")):
        data = json.loads(path.read_text("utf-8")) if path.stat().st_size < 200_000 else None
        if isinstance(data, dict) and ("nodes" in data or "class_type" in str(data)[:300]):
            yield data
    yield PARAMETERS


def _run(chance: random.Random, sources: list[Any], folder: Path) -> None:
    source = chance.choice(sources)
    other = None
    with contextlib.suppress(LatentloomError):
        other = _read(chance, source, folder, damage=0)
    with contextlib.suppress(LatentloomError):
        graph = _read(chance, source, folder, damage=chance.choice((1, 1, 2, 3, 8)))
        _use(chance, graph, other or graph)


def _read(chance: random.Random, source: Any, folder: Path, damage: int) -> Graph:
    data = json.loads(json.dumps(source))
    for _ in range(damage):
        if not isinstance(data, str):
            data = _changed(chance, data)
    text = data if isinstance(source, str) and isinstance(data, str) else _written(chance, data)
    if damage and chance.random() < 0.3:
        text = _garbled(chance, text)
    if not damage or chance.random() < 0.8:
        return parse_graph(text, REGISTRY, folder)
    return load_graph(_image(chance, text, folder), REGISTRY)


def _written(chance: random.Random, data: Any) -> str:
    is_native = isinstance(data, dict) and "latentloom" in data
    if is_native and chance.random() < 0.7:
        with contextlib.suppress(yaml.YAMLError, UnicodeError):
            return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return json.dumps(data)


def _changed(chance: random.Random, data: Any) -> Any:
    """Return a tree with one value replaced, removed, doubled, renamed or moved."""
    slots: list[tuple[Any, Any]] = []
    waiting = [data] if isinstance(data, dict | list) else []
    while waiting:
        item = waiting.pop()
        keys = item.keys() if isinstance(item, dict) else range(len(item))
        for key in keys:
            slots.append((item, key))
            if isinstance(item[key], dict | list):
                waiting.append(item[key])
    if not slots:
        return copy.deepcopy(chance.choice(ODD))
    parent, key = chance.choice(slots)
    origin, origin_key = chance.choice(slots)
    action = chance.random()
    if action < 0.45:
        parent[key] = copy.deepcopy(chance.choice(ODD))
    elif action < 0.6:
        del parent[key]
    elif action < 0.8:
        parent[key] = json.loads(json.dumps(origin[origin_key]))
    elif isinstance(parent, list):
        parent.insert(key, json.loads(json.dumps(parent[key])))
    else:
        parent[str(chance.choice(ODD))[:50]] = parent.pop(key)
    return data


def _garbled(chance: random.Random, text: str) -> str:
    start = chance.randrange(len(text) + 1)
    end = min(len(text), start + chance.randrange(12))
    pieces = (
        "",
        '"',
        "{",
        "]",
        ":",
        ",",
        "\n",
        "  ",
        "&a ",
        "*a",
        "!!x ",
        "1e999",
        "- ",
        "\t",
        "#",
    )
    return text[:start] + chance.choice((*pieces, text[end:][:40])) + text[end:]


def _image(chance: random.Random, text: str, folder: Path) -> Path:
    """Return an image with the text in a chunk or a tag, its bytes damaged now and then."""
    key = chance.choice(("latentloom", "prompt", "workflow", "parameters"))
    format = chance.choice(("png", "webp", "jpeg"))
    path = folder / f"a.{format}"
    image = Image.new("RGB", (2, 2))
    data = text.encode("utf-8", "replace")[:60_000]
    if format == "png":
        info = PngInfo()
        info.add_text(key, data.decode("latin-1"), zip=chance.random() < 0.5)
        image.save(path, pnginfo=info)
    else:
        exif = Image.Exif()
        exif[0x0110] = f"{key}:".encode() + data
        image.save(path, exif=exif.tobytes())
    if chance.random() < 0.5:
        content = bytearray(path.read_bytes())
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
    return path


def _use(chance: random.Random, graph: Graph, other: Graph) -> None:
    """Do with a graph what the commands do."""
    check(graph, REGISTRY, Workspace())
    lint(graph, REGISTRY, Workspace())
    named = name_outputs(graph, REGISTRY)
    form = chance.choice(FORMS)
    uses: tuple[Callable[[], object], ...] = (
        lambda: losses(named, form),
        lambda: parse_graph(dump_graph(named, form, REGISTRY), REGISTRY),
        lambda: _read_back(readable(named, REGISTRY)),
        lambda: _compare(graph, other),
        lambda: draw(graph.bound(), REGISTRY),
        lambda: as_python(named, REGISTRY),
    )
    for use in uses:
        with contextlib.suppress(LatentloomError):
            use()


def _read_back(graph: Graph) -> None:
    again = parse_graph(dump_graph(graph, "yaml", REGISTRY), REGISTRY)
    if _contents(again) != _contents(graph) or again.inputs != graph.inputs:
        changes = [str(change) for change in diff(graph, again).changes[:3]]
        raise AssertionError(f"YAML gives another graph: {changes}")


def _contents(graph: Graph) -> dict[str, Any]:
    return {
        id: (node.type, node.inputs, node.title, tuple(node.positional))
        for id, node in graph.nodes.items()
    }


def _compare(graph: Graph, other: Graph) -> None:
    if diff(*comparable(graph, graph, REGISTRY)).changes:
        raise AssertionError("a graph differs from itself")
    changes = diff(*comparable(graph, other, REGISTRY)).changes
    [str(change) for change in changes]
    merged = merge(graph, other, graph)
    if merged.conflicts or diff(merged.graph, other).changes:
        raise AssertionError("merging one side's changes gives another graph")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
