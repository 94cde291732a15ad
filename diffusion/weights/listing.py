"""What an installed model is, from headers and configurations alone: fast for any size. No torch.

The hash is of the header, which tells files of other shapes, names or notes apart, and is the same
wherever the file lies. It does not see a changed weight; what a run depends on is hashed whole.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import ANY, KNOWN, SDXL
from .control_file import control_family
from .detect import checkpoint_family, vae_family, weights_in
from .folders import CONFIG, PIPELINE
from .headers import header_bytes, read_heads
from .keys import Heads
from .lora_file import lora_family
from .single_file import read_contents
from .tensor_head import WIDTHS, TensorHead
from .tiny_vae import tiny_vae_files
from .upscale_file import upscale_part

PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
# The vectors of an embedding by their names in a file.
EMBEDDING_KEYS = {"emb_params", "clip_l", "clip_h", "clip_g"}


@dataclass(frozen=True)
class Facts:
    """What a model is.

    Attributes:
        holds: checkpoint, network, autoencoder, text encoder, lora, controlnet, upscaler,
            embedding, or unknown; whatever folder it lies in.
        family: of models that it fits; empty where its keys do not tell.
        precision: that most of its bytes are in.
        size: in bytes.
        hash: of the header, as hexadecimal digits.
    """

    holds: str
    family: str
    precision: str
    size: int
    hash: str


def describe(path: Path) -> Facts:
    """What a model file or folder is.

    Raises:
        ModelFileError: it cannot be read, or is incomplete.
    """
    files = weights_in(path) if path.is_dir() else [path]
    if not files:
        raise ModelFileError(f"{path.name} holds no weights")
    sink, heads = hashlib.sha256(), list[TensorHead]()
    for file in files:
        heads += read_heads(file).values()
        sink.update(header_bytes(file))
    holds, family = _folder(path) if path.is_dir() else _file(path)
    size = sum(file.stat().st_size for file in files)
    return Facts(holds, "" if family == ANY else family, _precision(heads), size, sink.hexdigest())


def _folder(path: Path) -> tuple[str, str]:
    """What a folder in the diffusers layout holds, and of which family."""
    if (path / PIPELINE).is_file():
        return "checkpoint", checkpoint_family(path).name
    if not (path / CONFIG).is_file():
        return "unknown", ""
    control = _control(path)
    return (
        ("controlnet", control) if control is not None else ("autoencoder", vae_family(path).name)
    )


def _file(path: Path) -> tuple[str, str]:
    """What a file holds, and of which family."""
    halves = tiny_vae_files(path)
    if halves is not None:
        return "autoencoder", halves.family.name
    try:
        return "lora", lora_family(path) or ""
    except ModelFileError:
        pass
    control = _control(path)
    if control is not None:
        return "controlnet", control
    contents = read_contents(path)
    family = contents.family.name if contents.family is not None else ""
    if contents.unet is not None:
        return ("checkpoint" if contents.texts or contents.vae else "network"), family
    if contents.texts:
        return "text encoder", family
    if contents.vae is not None:
        return "autoencoder", ""
    vectors = _vectors(read_heads(path))
    if vectors:
        return "embedding", _embedding_family(vectors)
    try:
        upscale_part(path)
    except ModelFileError:
        return "unknown", ""
    return "upscaler", ""


def _vectors(heads: Heads) -> Heads:
    """The vectors of an embedding; those of older files go by the word they stand for."""
    named = {name: head for name, head in heads.items() if name in EMBEDDING_KEYS}
    if named or len(heads) != 1:
        return named
    ((_, (_, shape)),) = heads.items()
    return heads if len(shape) in (1, 2) and shape[-1] in KNOWN else {}


def _embedding_family(vectors: Heads) -> str:
    """SDXL's has vectors for both of its text encoders; else their width tells."""
    if {"clip_l", "clip_g"} <= vectors.keys():
        return SDXL.name
    width = next(iter(vectors.values())).shape[-1:]
    known = KNOWN.get(width[0]) if width else None
    return known.name if known else ""


def _control(path: Path) -> str | None:
    """The family of a ControlNet, None if it is none."""
    try:
        return control_family(path).name
    except ModelFileError:
        return None


def _precision(heads: Iterable[TensorHead]) -> str:
    """The type that most bytes are in, and a plus where others are there too."""
    sizes: Counter[str] = Counter()
    for head in heads:
        if head.dtype in PRECISIONS:
            sizes[PRECISIONS[head.dtype]] += math.prod(head.shape) * WIDTHS[head.dtype]
    if not sizes:
        return ""
    ((most, share),) = sizes.most_common(1)
    return most if share >= 0.99 * sizes.total() else f"{most}+"
