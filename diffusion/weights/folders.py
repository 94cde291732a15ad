"""The model folders, and the names of the models in them. No torch here.

A root is laid out like ComfyUI's folder `models`: `checkpoints`, `vae`, `loras` and so on, each
with any subfolders; `weights.extra_paths` adds folders elsewhere. A folder in the diffusers
layout is one checkpoint, also directly under a root. Folders are listed again at every call, so
that a model can be used as soon as it is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ..errors import MissingModelError
from .extra_paths import SUBFOLDERS, read_extra_folders
from .tiny_vae import FOLDER as TINY_FOLDER
from .tiny_vae import TinyVaeFiles, list_tiny_vaes
from .torch_file import TORCH_EXTENSIONS

MODELS_VARIABLE = "LATENTLOOM_MODELS"
PIPELINE, CONFIG = "model_index.json", "config.json"
# Extensions of model files of every kind, as in ComfyUI; see `headers`.
WEIGHT_EXTENSIONS = (".safetensors", ".sft", *TORCH_EXTENSIONS)
# Files of training that are saved next to weights.
TRAINING_STATE = re.compile(
    r"(optimizer|scheduler|scaler|training_args|random_states|rng_state)[_\d]*\.\w+"
)
MAX_EMBEDDING_BYTES = 64 * 2**20
MAX_DEPTH = 16


def list_roots() -> list[Path]:
    """Return the model roots in search order: the user's, the variable's, the embedded one."""
    package = Path(__file__).resolve().parents[2]
    named = [Path(part) for part in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if part]
    candidates = (Path("models"), *named, package / "models")
    return list(dict.fromkeys(path.resolve() for path in candidates if path.is_dir()))


def list_folders(kind: str) -> list[Path]:
    """Return the folders with models of a kind, in search order.

    Raises:
        ModelFileError: a file of extra paths cannot be read.
    """
    roots = list_roots()
    extra = [folder for folder in read_extra_folders(roots) if folder.kind == kind]
    own = [root / name for root in roots for name in SUBFOLDERS.get(kind, (kind,))]
    first = [folder.path for folder in extra if folder.is_first]
    return list(dict.fromkeys([*first, *own, *(folder.path for folder in extra)]))


def list_models(kind: str) -> list[str]:
    """Return the names of the installed models of a kind, sorted: relative paths with slashes.

    Raises:
        ModelFileError: a file of extra paths cannot be read.
    """
    return sorted({name for name, _ in _models(kind)})


def resolve_model(kind: str, name: str) -> Path:
    """Return the file or folder of a model.

    Raises:
        MissingModelError: no installed model has that name.
    """
    for model, path in _models(kind):
        if model == name:
            return path
    names = list_models(kind)
    same = [known for known in names if _last_part(known) == _last_part(name)]
    close = get_close_matches(name, same or names, n=1, cutoff=0 if same else 0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(names) or 'none'}"
    raise MissingModelError(f"no model {name!r} among the {kind}; {hint}")


def find_missing_folders() -> list[str]:
    """Return messages on the folders that files of extra paths name but that do not exist.

    Raises:
        ModelFileError: a file of extra paths cannot be read.
    """
    return [
        f"{folder.source}: there is no folder {folder.path}"
        for folder in read_extra_folders(list_roots())
        if not folder.path.is_dir()
    ]


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].lower()


def find_embedding(name: str) -> Path | None:
    """Return the file of an embedding, named with or without its extension; None if missing."""
    paths: dict[str, Path] = {}
    for model, path in _models("embeddings"):
        paths.setdefault(model, path)
        paths.setdefault(model.removesuffix(path.suffix) + path.suffix.lower(), path)
    candidates = (name, *(name + extension for extension in WEIGHT_EXTENSIONS))
    return next((paths[candidate] for candidate in candidates if candidate in paths), None)


def find_tiny_vae(name: str) -> TinyVaeFiles | None:
    """Return the files of a TAESD; None if it is not installed."""
    return next((files for files in _tiny_vaes() if files.name == name), None)


def _tiny_vaes() -> Iterator[TinyVaeFiles]:
    for folder in list_folders(TINY_FOLDER):
        yield from list_tiny_vaes(folder)


def _models(kind: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of each model; the first of a name is the one used."""
    if kind in ("checkpoints", "vae"):
        for name, folder in _pipelines():
            if kind == "checkpoints":
                yield name, folder
            elif (folder / "vae" / CONFIG).is_file():
                yield name, folder / "vae"
    if kind == "vae":
        yield from ((files.name, files.encoder) for files in _tiny_vaes())
    for folder in list_folders(kind):
        if kind == "diffusers":
            yield from _folders_with(folder, PIPELINE)
        if kind in ("vae", "controlnet", "clip_vision", "depth_estimation"):
            yield from _folders_with(folder, CONFIG)
        for name, file in _files(folder, WEIGHT_EXTENSIONS):
            if not TRAINING_STATE.fullmatch(file.name) and not _is_part(file, folder):
                yield name, file


def _pipelines() -> Iterator[tuple[str, Path]]:
    """Yield folders in the diffusers layout: directly under a root, or under checkpoints."""
    for root in list_roots():
        for index in sorted(root.glob(f"*/{PIPELINE}")):
            yield index.parent.name, index.parent
    for folder in list_folders("checkpoints"):
        yield from _folders_with(folder, PIPELINE)


def _folders_with(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield folders that contain a file of this name and are not themselves part of a model."""
    for _, index in _files(folder, (name,)):
        if index.name == name and index.parent != folder and not _is_part(index.parent, folder):
            yield index.parent.relative_to(folder).as_posix(), index.parent


def _is_part(path: Path, top: Path) -> bool:
    """Return True for a path inside a model's folder under `top`."""
    for parent in path.parents:
        if parent == top or top not in parent.parents:
            return False
        if (parent / PIPELINE).is_file() or (parent / CONFIG).is_file():
            return True
    return False


def _files(folder: Path, extensions: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of each file with one of these extensions; follow links."""
    seen: set[str] = set()
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        depth = len(Path(directory).relative_to(folder).parts)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if real in seen or depth > MAX_DEPTH:
            subfolders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            if name.lower().endswith(extensions):
                path = Path(directory, name)
                yield path.relative_to(folder).as_posix(), path
