"""img2img on the demo model: the first run, and reruns after one change."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator

import latentloom
from bench.clock import Row, seconds
from latentloom import Engine, Graph

REPEATS = 5


def image_rows() -> Iterator[Row]:
    """Milliseconds; the model is loaded once, and each rerun has a change of its own."""
    img2img, passes = latentloom.load("img2img"), latentloom.load("multi_pass")
    with tempfile.TemporaryDirectory() as folder, Engine(latentloom.registry()) as engine:

        def run(graph: Graph) -> float:
            where = latentloom.workspace(graph, output_dir=folder)
            return seconds(lambda: engine.run(graph, where))

        yield Row("img2img, first (loads libraries and model)", run(img2img) * 1e3, "ms")
        yield Row("img2img, the same again", _median(run(img2img) for _ in range(REPEATS)), "ms")
        changes = {
            "img2img, only the seed": [img2img.set_input("seed", 100 + n) for n in range(REPEATS)],
            "img2img, only the prompt": [
                img2img.set_input("prompt", f"a blue house {n}") for n in range(REPEATS)
            ],
            "three passes, first": [passes.set("pass1.seed", 100 + n) for n in range(REPEATS)],
            "three passes, only the last": [
                passes.set("pass3.seed", 100 + n) for n in range(REPEATS)
            ],
        }
        for name, graphs in changes.items():
            yield Row(name, _median(run(graph) for graph in graphs), "ms")


def _median(times: Iterator[float]) -> float:
    return statistics.median(times) * 1e3
