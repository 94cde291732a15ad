"""img2img on the demo model: the first run, and reruns after one change."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator

import latentloom
from bench.clock import Measurement, time_call
from latentloom import Engine, Graph

REPEATS = 5


def image_rows() -> Iterator[Measurement]:
    """Measure runs in milliseconds; the model is loaded once, and each rerun has another change."""
    img2img, passes = latentloom.load("img2img"), latentloom.load("multi_pass")
    with tempfile.TemporaryDirectory() as folder, Engine(latentloom.registry()) as engine:

        def run(graph: Graph) -> float:
            workspace = latentloom.workspace(graph, output_dir=folder)
            return time_call(lambda: engine.run(graph, workspace))

        yield Measurement("img2img, first (loads libraries and model)", run(img2img) * 1e3, "ms")
        yield Measurement(
            "img2img, unchanged", _median_ms(run(img2img) for _ in range(REPEATS)), "ms"
        )
        changes = {
            "img2img, another seed": [img2img.set_input("seed", 100 + n) for n in range(REPEATS)],
            "img2img, another prompt": [
                img2img.set_input("prompt", f"a blue house {n}") for n in range(REPEATS)
            ],
            "three passes, first": [passes.set("pass1.seed", 100 + n) for n in range(REPEATS)],
            "three passes, another last pass": [
                passes.set("pass3.seed", 100 + n) for n in range(REPEATS)
            ],
        }
        for name, graphs in changes.items():
            yield Measurement(name, _median_ms(run(graph) for graph in graphs), "ms")


def _median_ms(times: Iterator[float]) -> float:
    return statistics.median(times) * 1e3
