"""Where models lie and what they are called. No torch here.

A root is a folder laid out as ComfyUI's `models`: `checkpoints`, `vae`, `loras` and so on. A
folder in the diffusers layout is one checkpoint; such a folder right under a root is one too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from .errors import ModelFileError

VARIABLE = "LATENTLOOM_MODELS"
PIPELINE = "model_index.json"


def roots() -> list[Path]:
    """The model folders, first one first: the user's, those of the variable, the shipped one."""
    here = Path(__file__).resolve().parent.parent
    named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    shipped = [here / "models", here / "latentloom_data" / "models"]
    found = [path.resolve() for path in (Path("models"), *named, *shipped) if path.is_dir()]
    return list(dict.fromkeys(found))


def list_models(kind: str) -> list[str]:
    """Names of the installed models of a kind, sorted; each a relative path with slashes."""
    return sorted({name for root in roots() for name, _ in _models_in(root, kind)})


def resolve_model(kind: str, name: str) -> Path:
    """The file or folder of a model.

    Raises:
        ModelFileError: there is none of that name.
    """
    for root in roots():
        for found, path in _models_in(root, kind):
            if found == name:
                return path
    names = list_models(kind)
    close = get_close_matches(name, names, n=1)
    hint = (
        f"; did you mean {close[0]!r}?" if close else f"; installed: {', '.join(names) or 'none'}"
    )
    raise ModelFileError(f"no model {name!r} among the {kind}{hint}")


def _models_in(root: Path, kind: str) -> Iterator[tuple[str, Path]]:
    for name, folder in _pipelines(root):
        if kind == "checkpoints":
            yield name, folder
        elif kind == "vae" and (folder / "vae" / "config.json").is_file():
            yield name, folder / "vae"
    if kind == "checkpoints":
        for file in sorted((root / "checkpoints").rglob("*.safetensors")):
            if not any((folder / PIPELINE).is_file() for folder in file.parents):
                yield file.relative_to(root / "checkpoints").as_posix(), file
    if kind == "vae":
        for config in sorted((root / "vae").glob("*/config.json")):
            yield config.parent.name, config.parent
    if kind == "controlnet":
        yield from _networks(root / kind)
    if kind in ("loras", "upscale_models"):
        for file in sorted((root / kind).rglob("*.safetensors")):
            yield file.relative_to(root / kind).as_posix(), file


def _networks(folder: Path) -> Iterator[tuple[str, Path]]:
    """Single networks: folders in the diffusers layout, and files that are not part of one."""
    for config in sorted(folder.rglob("config.json")):
        yield config.parent.relative_to(folder).as_posix(), config.parent
    for file in sorted(folder.rglob("*.safetensors")):
        if not (file.parent / "config.json").is_file():
            yield file.relative_to(folder).as_posix(), file


def _pipelines(root: Path) -> Iterator[tuple[str, Path]]:
    """Folders in the diffusers layout: right under the root, and anywhere under checkpoints."""
    for index in sorted(root.glob(f"*/{PIPELINE}")):
        yield index.parent.name, index.parent
    checkpoints = root / "checkpoints"
    for index in sorted(checkpoints.rglob(PIPELINE)):
        yield index.parent.relative_to(checkpoints).as_posix(), index.parent
