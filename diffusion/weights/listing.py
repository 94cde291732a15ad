"""Describe installed models from their headers and configurations alone. No torch here.

This is fast for files of any size. The hash is that of the header: it changes with names, shapes
and metadata, but not with a weight, nor with the file's path. Node keys hash the whole file.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelFileError
from ..families.stored import TensorInfos
from ..families.table import FAMILY_BY_TEXT_DIM, family_of_encoders
from ..families.tensor_info import DTYPE_BYTES, TensorInfo
from .control_file import detect_control_family
from .detect import detect_checkpoint_family, detect_vae_family, list_weight_files
from .folders import CONFIG, PIPELINE
from .headers import read_header_bytes, read_tensor_infos
from .lora_file import detect_lora_family
from .single_file import read_contents
from .tiny_vae import find_tiny_vae_files
from .upscale_file import read_upscale_network

PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
# Names of the vectors of an embedding in a file.
EMBEDDING_KEYS = {"emb_params", "clip_l", "clip_h", "clip_g"}
PAIR = ("clip_l", "clip_g")


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model's kind, family and size.

    Attributes:
        holds: checkpoint, network, autoencoder, text encoder, lora, controlnet, upscaler,
            embedding, or unknown; whatever folder it is in.
        family: of the models that it works with, and its form, such as inpaint; empty if its keys
            do not say.
        precision: of most of its bytes.
        size: in bytes.
        hash: SHA-256 of the header, in hexadecimal digits.
    """

    holds: str
    family: str
    precision: str
    size: int
    hash: str


def describe_model(path: Path) -> ModelDescription:
    """Describe a model file or folder.

    Raises:
        ModelFileError: it cannot be read, or is incomplete.
    """
    files = list_weight_files(path) if path.is_dir() else [path]
    if not files:
        raise ModelFileError(f"{path.name} holds no weights")
    sink, infos = hashlib.sha256(), list[TensorInfo]()
    for file in files:
        infos += read_tensor_infos(file).values()
        sink.update(read_header_bytes(file))
    holds, family = _detect_folder(path) if path.is_dir() else _detect_file(path)
    return ModelDescription(
        holds=holds,
        family=family,
        precision=_main_precision(infos),
        size=sum(file.stat().st_size for file in files),
        hash=sink.hexdigest(),
    )


def _detect_folder(path: Path) -> tuple[str, str]:
    """Return the kind and the family of a folder in the diffusers layout."""
    if (path / PIPELINE).is_file():
        return "checkpoint", detect_checkpoint_family(path).label
    if not (path / CONFIG).is_file():
        return "unknown", ""
    control_family = _control_family(path)
    if control_family is not None:
        return "controlnet", control_family
    return "autoencoder", _vae_family(path)


def _vae_family(path: Path) -> str:
    """Return the family of an autoencoder; nothing if only the shape of its latents is known."""
    family = detect_vae_family(path)
    return family.name if family.space.name else ""


def _detect_file(path: Path) -> tuple[str, str]:
    """Return the kind and the family of a file."""
    tiny_vae = find_tiny_vae_files(path)
    if tiny_vae is not None:
        return "autoencoder", tiny_vae.family.name
    try:
        return "lora", detect_lora_family(path) or ""
    except ModelFileError:
        pass
    control_family = _control_family(path)
    if control_family is not None:
        return "controlnet", control_family
    contents = read_contents(path)
    family = contents.family.label if contents.family is not None else ""
    if contents.unet is not None:
        return ("checkpoint" if contents.text_encoders or contents.vae else "network"), family
    if contents.text_encoders:
        return "text encoder", family
    if contents.vae is not None:
        return "autoencoder", ""
    vectors = _find_vectors(read_tensor_infos(path))
    if vectors:
        return "embedding", _embedding_family(vectors)
    try:
        read_upscale_network(path)
    except ModelFileError:
        return "unknown", ""
    return "upscaler", ""


def _find_vectors(infos: TensorInfos) -> TensorInfos:
    """Return the vectors of an embedding; in older files their key is the word they stand for."""
    vectors = {name: info for name, info in infos.items() if name in EMBEDDING_KEYS}
    if vectors or len(infos) != 1:
        return vectors
    ((_, (_, shape)),) = infos.items()
    return infos if len(shape) in (1, 2) and shape[-1] in FAMILY_BY_TEXT_DIM else {}


def _embedding_family(vectors: TensorInfos) -> str:
    """Return the family of the text encoders that the vectors are for, by their width."""
    if set(PAIR) <= vectors.keys():
        return family_of_encoders([vectors[key].shape[-1] for key in PAIR]).name
    width = next(iter(vectors.values())).shape[-1:]
    known = FAMILY_BY_TEXT_DIM.get(width[0]) if width else None
    return known.name if known else ""


def _control_family(path: Path) -> str | None:
    """Return the family of a ControlNet; None for other models."""
    try:
        return detect_control_family(path).name
    except ModelFileError:
        return None


def _main_precision(infos: Iterable[TensorInfo]) -> str:
    """Return the dtype of most bytes, with a plus if over 1 % are of others."""
    sizes: Counter[str] = Counter()
    for info in infos:
        if info.dtype in PRECISIONS:
            sizes[PRECISIONS[info.dtype]] += math.prod(info.shape) * DTYPE_BYTES[info.dtype]
    if not sizes:
        return ""
    precision, size = max(sizes.items(), key=lambda item: item[1])
    return precision if size >= 0.99 * sizes.total() else f"{precision}+"
