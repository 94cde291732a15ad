"""Text encoders in files of their own: do they belong together, and for which family?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import Family
from ..families.table import family_named, family_of_encoders
from ..weights.detect import check_text_parameters
from ..weights.single_file import read_contents
from ..weights.text_keys import KIND_NAMES, StoredTextEncoder, TextKind
from .recipes import CLIP_RECIPE, RECIPES, TextRecipe, find_recipe


def check_clip_files(paths: Sequence[Path], type: str) -> None:
    """Check that files have the text encoders of a family, and that they can be loaded.

    Raises:
        ModelFileError, UnsuitableValueError: as detect_clip_family, or one lacks weights or has
            others.
    """
    detect_clip_family(paths, type)
    for path in paths:
        check_text_parameters(path, read_contents(path))


def list_kinds(paths: Sequence[Path]) -> list[TextKind]:
    """Return the kinds of the text encoders of files.

    Raises:
        ModelFileError: a file holds none, or no recipe combines them.
    """
    kinds = [encoder.kind for encoder in _list_encoders(paths)]
    if len({*kinds}) != len(kinds) or not any(recipe.has(kinds) for recipe in RECIPES):
        names = " and ".join(path.name for path in paths)
        held = " and ".join(KIND_NAMES[kind] for kind in kinds)
        hint = "; ".join(
            f"{recipe.types[0]} has {', '.join(KIND_NAMES[kind] for kind in recipe.kinds)}"
            for recipe in RECIPES
            if recipe.family
        )
        raise ModelFileError(
            f"{names} hold {held}; a model has one L and one G, or by type: {hint}"
        )
    return kinds


def detect_recipe(paths: Sequence[Path], type: str) -> TextRecipe:
    """Return the recipe for the text encoders of files, and a type of the loaders.

    Raises:
        ModelFileError: as list_kinds.
        UnsuitableValueError: no recipe of this type combines them.
    """
    return find_recipe(list_kinds(paths), type)


def detect_clip_family(paths: Sequence[Path], type: str) -> Family:
    """Return the family of the models that use the text encoders of these files.

    Raises:
        ModelFileError, UnsuitableValueError: as detect_recipe; or no family combines the CLIPs.
    """
    recipe = detect_recipe(paths, type)
    if recipe != CLIP_RECIPE:
        return family_named(recipe.family)
    encoders = _list_encoders(paths)
    kinds = [encoder.kind for encoder in encoders]
    if len(kinds) > 1 and {*kinds} != {"l", "g"}:
        names = " and ".join(path.name for path in paths)
        clips = " and ".join(kind.upper() for kind in kinds)
        raise ModelFileError(f"{names} hold CLIP {clips}; a model has one L and one G")
    return family_of_encoders([encoder.width for encoder in encoders])


def _list_encoders(paths: Sequence[Path]) -> list[StoredTextEncoder]:
    encoders: list[StoredTextEncoder] = []
    for path in paths:
        own = read_contents(path).text_encoders
        if not own:
            raise ModelFileError(f"{path.name} holds no text encoder that is known")
        encoders += own
    return encoders
