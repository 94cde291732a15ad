"""Image encoders, CLIP's and SigLIP's: images to vectors of their content."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ModelFileError
from ..families.stored import StoredNetwork, count_members, has_keys
from ..weights.config_file import read_config
from ..weights.detect import check_weights
from ..weights.headers import read_tensor_infos
from ..weights.parameters import check_parameters, siglip_sizes, vision_sizes
from . import devices
from .finite import check_finite
from .handles import NetworkHandle
from .network_files import load_network_file, load_network_folder, load_shared
from .residency import retry_when_out_of_memory
from .weights import Weights

MEAN = (0.48145466, 0.4578275, 0.40821073)
SPREAD = (0.26862954, 0.26130258, 0.27577711)
KIND = "CLIPVisionModelWithProjection"
FILE = "model.safetensors"
INPUT, LAYERS = "vision_model.embeddings.", "vision_model.encoder.layers."
# All of CLIP's large encoders have 16 heads; OpenAI's, by its width, has another activation.
HEADS, OPENAI_WIDTH = 16, 1024
# SigLIP's: so400m has heads of another width than the smaller ones.
SO400M_WIDTH, SO400M_GRID, SO400M_SIDE_PX, HEAD_WIDTH = 1152, (14, 729), 384, 64
GREY = (0.5, 0.5, 0.5)


class VisionOutput(NamedTuple):
    """Encoded images.

    Attributes:
        embeds: B×d, one vector per image.
        patches: B×n×w from the last layer but one: one vector for the image (not with SigLIP) and
            one per patch.
        last: the same from the last layer.
    """

    embeds: Tensor
    patches: Tensor
    last: Tensor


class VisionWeights(Weights):
    """An image encoder."""

    def encode(self, pixels: Tensor) -> VisionOutput:
        """Encode pixels B×3×s×s from `preprocess`."""
        output = self.module(pixels.to(self.device, self.dtype), output_hidden_states=True)
        embeds = output.image_embeds if "image_embeds" in output else output.pooler_output
        if embeds is None:
            embeds = output.last_hidden_state.mean(dim=1)
        layers = (output.hidden_states[-2], output.last_hidden_state)
        return VisionOutput(embeds.float(), *(layer.float() for layer in layers))


@dataclass(frozen=True, eq=False)
class ClipVision(NetworkHandle):
    """An image encoder as it travels on edges.

    Attributes:
        side_px: of its input.
        mean, spread: of the colours of its input, which are normalised with them.
    """

    weights: VisionWeights
    side_px: int
    mean: tuple[float, float, float] = MEAN
    spread: tuple[float, float, float] = SPREAD


def check_clip_vision(path: Path) -> None:
    """Check that an image encoder's folder or file can be loaded.

    Raises:
        ModelFileError: it is incomplete, unsafe, or a different network.
    """
    if path.is_file():
        read_siglip(path) or _read_part(path)
        return
    config = read_config(path / "config.json")
    kinds = config.values.get("architectures") or [KIND]
    if kinds != [KIND]:
        raise config.error("architectures", KIND)
    config.read_count("image_size", 224)
    check_weights(path, FILE)


def _read_part(path: Path) -> StoredNetwork:
    """Read the header of an encoder in one file; its keys are transformers' names."""
    infos = read_tensor_infos(path)
    try:
        hidden = infos[f"{INPUT}class_embedding"].shape[0]
        patch = infos[f"{INPUT}patch_embedding.weight"].shape[2]
        positions = infos[f"{INPUT}position_embedding.weight"].shape[0] - 1
        config = {
            "hidden_size": hidden,
            "intermediate_size": infos[f"{LAYERS}0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": count_members(infos, LAYERS),
            "num_attention_heads": HEADS,
            "patch_size": patch,
            "image_size": patch * math.isqrt(positions),
            "projection_dim": infos["visual_projection.weight"].shape[0],
            "hidden_act": "quick_gelu" if hidden == OPENAI_WIDTH else "gelu",
        }
    except (KeyError, IndexError) as error:
        raise ModelFileError(f"{path.name} is not a CLIP image encoder") from error
    prefixes = ("vision_model.", "visual_projection.")
    names = [name for name in infos if name.startswith(prefixes) and "position_ids" not in name]
    network = StoredNetwork(config, {name: name for name in names})
    check_parameters(path, network, vision_sizes)
    return network


def read_siglip(path: Path) -> StoredNetwork | None:
    """Read the header of a SigLIP encoder in one file; None for another network.

    Raises:
        ModelFileError: it lacks weights, or has others.
    """
    infos, prefix = read_tensor_infos(path), "vision_model."
    key = f"{INPUT}patch_embedding."
    if not has_keys(infos, key, "weight", "bias") or f"{INPUT}class_embedding" in infos:
        return None
    width, _, patch, _ = infos[f"{key}weight"].shape
    names = {name: name.removeprefix(prefix) for name in infos if name.startswith(prefix)}
    positions = infos[f"{INPUT}position_embedding.weight"].shape[0]
    # 27 patches of 14 pixels leave a rest of a side of 384.
    side = SO400M_SIDE_PX if (patch, positions) == SO400M_GRID else patch * math.isqrt(positions)
    config = {
        "hidden_size": width,
        "intermediate_size": infos[f"{LAYERS}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": count_members(infos, LAYERS),
        "num_attention_heads": HEADS if width == SO400M_WIDTH else max(1, width // HEAD_WIDTH),
        "patch_size": patch,
        "image_size": side,
        "vision_use_head": f"{prefix}head.probe" in infos,
    }
    network = StoredNetwork(config, {k: v for k, v in names.items() if "position_ids" not in k})
    check_parameters(path, network, siglip_sizes)
    return network


def _load_siglip(path: Path, part: StoredNetwork) -> ClipVision:
    def make(digest: str) -> VisionWeights:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        build = partial(SiglipVisionModel, SiglipVisionConfig(**part.config))
        return VisionWeights(load_network_file(path, part, build, devices.network_dtype()), digest)

    weights = load_shared("clip_vision", make, path)
    return ClipVision(weights, part.config["image_size"], GREY, GREY)


def load_clip_vision(path: Path) -> ClipVision:
    """Load an image encoder from a folder in transformers' layout or from one file.

    Raises:
        ModelFileError: it is incomplete, unsafe or corrupt.
    """
    check_clip_vision(path)
    siglip = read_siglip(path) if path.is_file() else None
    if siglip is not None:
        return _load_siglip(path, siglip)

    def make(digest: str) -> VisionWeights:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        dtype = devices.network_dtype()
        if path.is_file():
            part = _read_part(path)
            build = partial(CLIPVisionModelWithProjection, CLIPVisionConfig(**part.config))
            module = load_network_file(path, part, build, dtype)
        else:
            module = load_network_folder(CLIPVisionModelWithProjection, path, dtype)
        return VisionWeights(module, digest)

    if path.is_file():
        side = int(_read_part(path).config["image_size"])
    else:
        side = read_config(path / "config.json").read_count("image_size", 224)
    return ClipVision(load_shared("clip_vision", make, path), side)


def preprocess(
    image: Tensor,
    side_px: int,
    crop: bool = True,
    mean: tuple[float, float, float] = MEAN,
    spread: tuple[float, float, float] = SPREAD,
) -> Tensor:
    """Resize images B×H×W×C to CLIP's B×3×side×side, and normalise them.

    Args:
        crop: take the middle square; otherwise squeeze the image into the square.
    """
    pixels = image[..., :3].expand(*image.shape[:3], 3).movedim(-1, 1)
    height, width = pixels.shape[-2:]
    scale = side_px / min(height, width)
    size = (max(side_px, round(height * scale)), max(side_px, round(width * scale)))
    size = size if crop else (side_px, side_px)
    pixels = interpolate(pixels, size=size, mode="bicubic", antialias=True)
    top, left = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    pixels = pixels[..., top : top + side_px, left : left + side_px]
    pixels = (pixels * 255).clamp(0, 255).round() / 255
    middle, scale_by = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, spread))
    return (pixels - middle) / scale_by


def encode_image(vision: ClipVision, image: Tensor, crop: bool = True) -> VisionOutput:
    """Encode images B×H×W×C in 0..1; see `preprocess` for `crop`."""
    pixels = preprocess(image, vision.side_px, crop, vision.mean, vision.spread)
    return _encode(vision, pixels)


def encode_blank(vision: ClipVision) -> VisionOutput:
    """Encode an image of zeros, which some adapters take for no image."""
    return _encode(vision, torch.zeros(1, 3, vision.side_px, vision.side_px))


def _encode(vision: ClipVision, pixels: Tensor) -> VisionOutput:
    def encode() -> VisionOutput:
        with vision.weights.use():
            output = vision.weights.encode(pixels)
        check_finite("the CLIP image encoder", *output)
        return VisionOutput(*(part.cpu().clone() for part in output))

    return retry_when_out_of_memory(encode)
