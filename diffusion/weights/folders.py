"""Where models lie and what they are called. No torch here.

A root is a folder laid out as ComfyUI's `models`: `checkpoints`, `vae`, `loras` and so on, each
with subfolders as its user likes; `weights.extra_paths` adds folders elsewhere. A folder in
the diffusers layout is one checkpoint; such a folder right under a root is one too. Folders are
read anew each time, so that a file is there as soon as it is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ..errors import MissingModelError
from .extra_paths import SUBFOLDERS, extra_folders
from .tiny_vae import FOLDER as TINY_FOLDER
from .tiny_vae import TinyVaeFiles, list_tiny_vaes
from .torch_file import TORCH_EXTENSIONS as TORCH_ENDINGS

MODELS_VARIABLE = "LATENTLOOM_MODELS"
PIPELINE, CONFIG = "model_index.json", "config.json"
# Files of each kind are found under all of these, as in ComfyUI; see `headers`.
WEIGHT_EXTENSIONS = (".safetensors", ".sft", *TORCH_ENDINGS)
# What training leaves beside weights.
STATES = re.compile(
    r"(optimizer|scheduler|scaler|training_args|random_states|rng_state)[_\d]*\.\w+"
)
MAX_EMBEDDING_BYTES = 64 * 2**20
MAX_DEPTH = 16


def list_roots() -> list[Path]:
    """The model folders, first one first: the user's, those of the variable, the shipped one."""
    here = Path(__file__).resolve().parents[2]
    named = [Path(part) for part in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if part]
    candidates = (Path("models"), *named, here / "models")
    found = [path.resolve() for path in candidates if path.is_dir()]
    return list(dict.fromkeys(found))


def list_folders(kind: str) -> list[Path]:
    """The folders that hold models of a kind, first one first.

    Raises:
        ModelFileError: a file of extra folders cannot be read.
    """
    known = list_roots()
    extra = [each for each in extra_folders(known) if each.kind == kind]
    own = [root / name for root in known for name in SUBFOLDERS.get(kind, (kind,))]
    first = [each.path for each in extra if each.is_first]
    return list(dict.fromkeys([*first, *own, *(each.path for each in extra)]))


def list_models(kind: str) -> list[str]:
    """Names of the installed models of a kind, sorted; each a relative path with slashes.

    Raises:
        ModelFileError: a file of extra folders cannot be read.
    """
    return sorted({name for name, _ in _models(kind)})


def resolve_model(kind: str, name: str) -> Path:
    """The file or folder of a model.

    Raises:
        ModelFileError: there is none of that name.
    """
    for found, path in _models(kind):
        if found == name:
            return path
    names = list_models(kind)
    close = get_close_matches(name, names, n=1)
    hint = (
        f"; did you mean {close[0]!r}?" if close else f"; installed: {', '.join(names) or 'none'}"
    )
    raise MissingModelError(f"no model {name!r} among the {kind}{hint}")


def find_embedding(name: str) -> Path | None:
    """The file of an embedding, with or without its ending; None where there is none."""
    places: dict[str, Path] = {}
    for found, path in _models("embeddings"):
        places.setdefault(found, path)
    expected = (name, *(name + extension for extension in WEIGHT_EXTENSIONS))
    return next((places[each] for each in expected if each in places), None)


def find_tiny_vae(family: str) -> TinyVaeFiles | None:
    """The TAESD of a family's latents; None where its files are not there."""
    return next((found for found in _tiny_vaes() if found.family.name == family), None)


def _tiny_vaes() -> Iterator[TinyVaeFiles]:
    for folder in list_folders(TINY_FOLDER):
        yield from list_tiny_vaes(folder)


def _models(kind: str) -> Iterator[tuple[str, Path]]:
    """Name and place of each model, the one that wins a name first."""
    if kind in ("checkpoints", "vae"):
        for name, folder in _pipelines():
            if kind == "checkpoints":
                yield name, folder
            elif (folder / "vae" / CONFIG).is_file():
                yield name, folder / "vae"
    if kind == "vae":
        yield from ((halves.name, halves.encoder) for halves in _tiny_vaes())
    for folder in list_folders(kind):
        if kind == "diffusers":
            yield from _holding(folder, PIPELINE)
        if kind in ("vae", "controlnet", "clip_vision", "depth_estimation"):
            yield from _holding(folder, CONFIG)
        for name, file in _files(folder, WEIGHT_EXTENSIONS):
            if not STATES.fullmatch(file.name) and not _is_part(file, folder):
                yield name, file


def _pipelines() -> Iterator[tuple[str, Path]]:
    """Folders in the diffusers layout: right under a root, and anywhere under checkpoints."""
    for root in list_roots():
        for index in sorted(root.glob(f"*/{PIPELINE}")):
            yield index.parent.name, index.parent
    for folder in list_folders("checkpoints"):
        yield from _holding(folder, PIPELINE)


def _holding(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Folders that hold a file of this name, and are no parts of a model themselves."""
    for _, index in _files(folder, (name,)):
        if index.name == name and index.parent != folder and not _is_part(index.parent, folder):
            yield index.parent.relative_to(folder).as_posix(), index.parent


def _is_part(path: Path, top: Path) -> bool:
    """Whether something belongs to a model in a folder."""
    for parent in path.parents:
        if parent == top or top not in parent.parents:
            return False
        if (parent / PIPELINE).is_file() or (parent / CONFIG).is_file():
            return True
    return False


def _files(folder: Path, extensions: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Name and place of each file with one of these endings; links to folders are followed."""
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        depth = len(Path(place).relative_to(folder).parts)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if real in seen or depth > MAX_DEPTH:
            names.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            if name.endswith(extensions):
                path = Path(place, name)
                yield path.relative_to(folder).as_posix(), path
