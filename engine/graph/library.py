"""The shipped graphs, in the folder `graphs/` of the package."""

from __future__ import annotations

from pathlib import Path

from ..errors import did_you_mean

EXTENSIONS = (".yaml", ".yml", ".json")


def graphs_dir() -> Path | None:
    """Return the folder of shipped graphs, None if it is not installed."""
    folder = Path(__file__).resolve().parents[2] / "graphs"
    return folder if folder.is_dir() else None


def find_graph(name: str) -> Path | None:
    """Return the path of a shipped graph by its bare name, such as `img2img`."""
    folder = graphs_dir()
    if folder is None or not name or "/" in name or "\\" in name:
        return None
    candidates = (folder / f"{name}{extension}" for extension in EXTENSIONS)
    return next((path for path in candidates if path.is_file()), None)


def find_file(name: str) -> Path:
    """Return the path of a file, or that of the shipped graph of this name.

    Raises:
        FileNotFoundError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = find_graph(name)
    if shipped is None:
        hint = did_you_mean(name, graph_names())
        what = f"{name} is a folder" if path.is_dir() else f"there is no graph file {name}"
        raise FileNotFoundError(f"{what}\n  try:     {hint}" if hint else what)
    return shipped


def graph_names() -> list[str]:
    """Return the bare names of the shipped graphs."""
    folder = graphs_dir()
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder is not None else []
