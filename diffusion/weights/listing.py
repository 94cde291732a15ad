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
from ..families.family import ANY_FAMILY, FAMILY_BY_TEXT_DIM, SDXL
from .control_file import detect_control_family
from .detect import detect_checkpoint_family, detect_vae_family, list_weight_files
from .folders import CONFIG, PIPELINE
from .headers import read_header_bytes, read_tensor_infos
from .keys import TensorInfos
from .lora_file import detect_lora_family
from .single_file import read_contents
from .tensor_info import DTYPE_BYTES, TensorInfo
from .tiny_vae import find_tiny_vae_files
from .upscale_file import read_upscale_network

PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
# The vectors of an embedding by their names in a file.
EMBEDDING_KEYS = {"emb_params", "clip_l", "clip_h", "clip_g"}


@dataclass(frozen=True)
class ModelDescription:
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


def describe_model(path: Path) -> ModelDescription:
    """What a model file or folder is.

    Raises:
        ModelFileError: it cannot be read, or is incomplete.
    """
    files = list_weight_files(path) if path.is_dir() else [path]
    if not files:
        raise ModelFileError(f"{path.name} holds no weights")
    sink, heads = hashlib.sha256(), list[TensorInfo]()
    for file in files:
        heads += read_tensor_infos(file).values()
        sink.update(read_header_bytes(file))
    holds, family = _folder(path) if path.is_dir() else _file(path)
    size = sum(file.stat().st_size for file in files)
    return ModelDescription(
        holds, "" if family == ANY_FAMILY else family, _precision(heads), size, sink.hexdigest()
    )


def _folder(path: Path) -> tuple[str, str]:
    """What a folder in the diffusers layout holds, and of which family."""
    if (path / PIPELINE).is_file():
        return "checkpoint", detect_checkpoint_family(path).name
    if not (path / CONFIG).is_file():
        return "unknown", ""
    control = _control(path)
    return (
        ("controlnet", control)
        if control is not None
        else ("autoencoder", detect_vae_family(path).name)
    )


def _file(path: Path) -> tuple[str, str]:
    """What a file holds, and of which family."""
    halves = find_tiny_vae_files(path)
    if halves is not None:
        return "autoencoder", halves.family.name
    try:
        return "lora", detect_lora_family(path) or ""
    except ModelFileError:
        pass
    control = _control(path)
    if control is not None:
        return "controlnet", control
    contents = read_contents(path)
    family = contents.family.name if contents.family is not None else ""
    if contents.unet is not None:
        return ("checkpoint" if contents.text_encoders or contents.vae else "network"), family
    if contents.text_encoders:
        return "text encoder", family
    if contents.vae is not None:
        return "autoencoder", ""
    vectors = _vectors(read_tensor_infos(path))
    if vectors:
        return "embedding", _embedding_family(vectors)
    try:
        read_upscale_network(path)
    except ModelFileError:
        return "unknown", ""
    return "upscaler", ""


def _vectors(heads: TensorInfos) -> TensorInfos:
    """The vectors of an embedding; those of older files go by the word they stand for."""
    named = {name: head for name, head in heads.items() if name in EMBEDDING_KEYS}
    if named or len(heads) != 1:
        return named
    ((_, (_, shape)),) = heads.items()
    return heads if len(shape) in (1, 2) and shape[-1] in FAMILY_BY_TEXT_DIM else {}


def _embedding_family(vectors: TensorInfos) -> str:
    """SDXL's has vectors for both of its text encoders; else their width tells."""
    if {"clip_l", "clip_g"} <= vectors.keys():
        return SDXL.name
    width = next(iter(vectors.values())).shape[-1:]
    known = FAMILY_BY_TEXT_DIM.get(width[0]) if width else None
    return known.name if known else ""


def _control(path: Path) -> str | None:
    """The family of a ControlNet, None if it is none."""
    try:
        return detect_control_family(path).name
    except ModelFileError:
        return None


def _precision(heads: Iterable[TensorInfo]) -> str:
    """The type that most bytes are in, and a plus where others are there too."""
    sizes: Counter[str] = Counter()
    for head in heads:
        if head.dtype in PRECISIONS:
            sizes[PRECISIONS[head.dtype]] += math.prod(head.shape) * DTYPE_BYTES[head.dtype]
    if not sizes:
        return ""
    ((most, share),) = sizes.most_common(1)
    return most if share >= 0.99 * sizes.total() else f"{most}+"
