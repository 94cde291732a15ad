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

# Keys of the vectors in files for several text encoders.
KEYS: Mapping[TextKind, str] = {"l": "clip_l", "h": "clip_h", "g": "clip_g", "t5xxl": "t5xxl"}


def embedding_vectors(name: str, kind: TextKind, width: int) -> Sequence[Tensor] | None:
    """Return an embedding's vectors for a text encoder; None, with a warning, if there are none.

    Args:
        width: of the text encoder; vectors of another width are rejected.
    """
    path = find_embedding(name)
    if path is None:
        if not name.endswith(","):  # the tokenizer tries again without the comma
            log.warning("embedding %r: file not found; it is left out of the prompt", name)
        return None
    try:
        vectors = read_vectors(path, kind)
    except ModelFileError as error:
        log.warning("%s; it is left out of the prompt", error)
        return None
    if vectors.shape[-1] != width:
        log.warning(
            "embedding %r: expected vectors of width %d, as the text encoder has, got %d; "
            "it is left out of the prompt",
            name, width, vectors.shape[-1],
        )  # fmt: skip
        return None
    return list(vectors.float())


def read_vectors(path: Path, kind: TextKind) -> Tensor:
    """Read the n×d vectors of a file: those for this text encoder, else the first ones.

    Raises:
        ModelFileError: the file cannot be read safely, or holds no vectors.
    """
    if path.stat().st_size > MAX_EMBEDDING_BYTES:
        raise ModelFileError(f"{path.name} is too large for an embedding")
    tensors = load_weights(path)
    vectors = tensors.get(KEYS.get(kind, ""), next(iter(tensors.values()), None))
    if vectors is None or vectors.ndim not in (1, 2) or not vectors.numel():
        raise ModelFileError(f"{path.name}: expected the vectors of an embedding")
    return vectors.reshape(-1, vectors.shape[-1])
