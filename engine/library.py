"""The graphs that are shipped: beside the code in a checkout, in a data folder when installed."""

from __future__ import annotations

from pathlib import Path

ENDINGS = (".yaml", ".yml", ".json")


def graphs_dir() -> Path | None:
    """The folder of shipped graphs, None if it is not installed."""
    root = Path(__file__).resolve().parent.parent
    places = (root / "graphs", root / "latentloom_data" / "graphs")
    return next((place for place in places if place.is_dir()), None)


def find_graph(name: str) -> Path | None:
    """A shipped graph by its bare name, such as `img2img`."""
    folder = graphs_dir()
    if folder is None or not name or "/" in name or "\\" in name:
        return None
    candidates = (folder / f"{name}{ending}" for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def graph_names() -> list[str]:
    """The bare names of the shipped graphs."""
    folder = graphs_dir()
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder is not None else []
