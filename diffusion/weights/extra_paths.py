"""Extra model folders, listed in files like ComfyUI's `extra_model_paths.yaml`. No torch here.

Each section has a `base_path` and, for each kind of model, folders relative to it, one a line.
Folders of a section with `is_default` are searched first. Kinds have ComfyUI's names, old ones
too, so that the section for A1111's folders in its example file works unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from .file_cache import cache_while_unchanged

EXTRA_PATHS_VARIABLE = "LATENTLOOM_EXTRA_MODEL_PATHS"
EXTRA_PATHS_FILE = "extra_model_paths.yaml"
MAX_BYTES = 2**18

# The subfolders of a root by kind, for kinds with other names than their folder.
SUBFOLDERS: Mapping[str, tuple[str, ...]] = {
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "controlnet": ("controlnet", "t2i_adapter"),
}
KIND_OF = {name: kind for kind, names in SUBFOLDERS.items() for name in names}
SETTINGS = ("base_path", "is_default")


@dataclass(frozen=True)
class ExtraFolder:
    """A folder with models of one kind.

    Attributes:
        is_first: whether it is searched before the roots.
        source: the file, section and key that name it, for messages.
    """

    kind: str
    path: Path
    is_first: bool
    source: str


def read_extra_folders(roots: Sequence[Path]) -> Iterator[ExtraFolder]:
    """Yield the folders of every file of extra paths.

    The files are searched in the working directory, in the environment variable, and next to
    each root.

    Raises:
        ModelFileError: a file cannot be read, or is not in this format.
    """
    named = [
        Path(part) for part in os.environ.get(EXTRA_PATHS_VARIABLE, "").split(os.pathsep) if part
    ]
    for path in named:
        if not path.is_file():
            raise ModelFileError(f"{EXTRA_PATHS_VARIABLE} names {path}, which is not a file")
    files = [Path(EXTRA_PATHS_FILE), *named, *(root.parent / EXTRA_PATHS_FILE for root in roots)]
    for path in dict.fromkeys(path.resolve() for path in files if path.is_file()):
        yield from _read(path)


@cache_while_unchanged(maxsize=16)
def _read(path: Path) -> tuple[ExtraFolder, ...]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 2**10} KiB")
        sections = _parse(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error
    if sections is None:
        return ()
    if not isinstance(sections, dict):
        raise ModelFileError(f"{path.name}: expected sections, each with a base_path")
    return tuple(
        folder
        for name, section in sections.items()
        for folder in _read_section(path, name, section)
    )


def _read_section(path: Path, name: object, section: Any) -> Iterator[ExtraFolder]:
    if section is None:
        return
    if not isinstance(section, dict):
        raise ModelFileError(f"{path.name}: {name}: expected folders by kind")
    base = _expand(path.parent, section.get("base_path") or ".", path, name)
    is_first = section.get("is_default") is True
    for kind, lines in section.items():
        if kind in SETTINGS or lines is None:
            continue
        if not isinstance(lines, str):
            raise ModelFileError(f"{path.name}: {name}.{kind}: expected one folder a line")
        for line in filter(None, map(str.strip, lines.splitlines())):
            folder = _expand(base, line, path, name)
            source = f"{path.name}: {name}.{kind}"
            yield ExtraFolder(KIND_OF.get(str(kind), str(kind)), folder, is_first, source)


def _expand(base: Path, folder: object, path: Path, name: object) -> Path:
    """Return a folder of a file's section, with variables and `~` expanded."""
    if not isinstance(folder, str) or "\0" in folder:
        raise ModelFileError(f"{path.name}: {name}: expected folders as strings")
    try:
        return base / Path(os.path.expandvars(folder)).expanduser()
    except RuntimeError as error:
        raise ModelFileError(f"{path.name}: {name}: {error}") from error


def _parse(text: str) -> Any:
    """Parse YAML without aliases and tags.

    Raises:
        ValueError: the text is something else.
    """
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise ValueError("it has an alias or a tag")
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    finally:
        loader.dispose()
