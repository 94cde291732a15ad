"""Embeddings (textual inversions): files of vectors that stand in prompts as `embedding:name`.

A file that is missing, or whose vectors do not fit, is left out of the prompt with a warning, as
ComfyUI leaves it out. Source: arXiv 2208.01618.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..errors import ModelFileError
from ..weights.folders import MAX_EMBEDDING_BYTES, find_embedding
from ..weights.text_keys import TextKind
from ..weights.weight_file import load_weights

log = logging.getLogger(__name__)

# What files for several text encoders call the vectors of each.
KEYS: Mapping[TextKind, str] = {"l": "clip_l", "h": "clip_h", "g": "clip_g"}


def embedding_vectors(name: str, kind: TextKind, width: int) -> Sequence[Tensor] | None:
    """The vectors that a name means for a text encoder; None, and a warning, if there are none.

    Args:
        width: of the text encoder; vectors of another width are none.
    """
    path = find_embedding(name)
    if path is None:
        if not name.endswith(","):  # it is asked for again without the comma
            log.warning("there is no embedding %r; it is left out of the prompt", name)
        return None
    try:
        vectors = read_vectors(path, kind)
    except ModelFileError as error:
        log.warning("%s; it is left out of the prompt", error)
        return None
    if vectors.shape[-1] != width:
        log.warning(
            "the embedding %r is %d wide, the text encoder %d; it is left out of the prompt",
            name, vectors.shape[-1], width,
        )  # fmt: skip
        return None
    return list(vectors.float())


def read_vectors(path: Path, kind: TextKind) -> Tensor:
    """The n×d vectors of a file: those for this text encoder, else its first ones.

    Raises:
        ModelFileError: the file cannot be read safely, or holds no vectors.
    """
    if path.stat().st_size > MAX_EMBEDDING_BYTES:
        raise ModelFileError(f"{path.name} is too large for an embedding")
    found = load_weights(path)
    chosen = found.get(KEYS[kind], next(iter(found.values()), None))
    if chosen is None or chosen.ndim not in (1, 2) or not chosen.numel():
        raise ModelFileError(f"{path.name} holds no vectors of an embedding")
    return chosen.reshape(-1, chosen.shape[-1])
