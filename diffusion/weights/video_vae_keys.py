"""The autoencoder of Wan 2.1 and Qwen-Image in files: keys, configuration, parameters.

It encodes videos; an image is a video of one frame. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..families.stored import Parameters, StoredNetwork, TensorInfos, has_keys, rename_infos

PREFIXES = ("first_stage_model.", "vae.", "")
CLASS_NAME = "AutoencoderKLQwenImage"
ORIGINAL_MARK = "decoder.middle.0.residual.0.gamma"
DIFFUSERS_MARK = "decoder.mid_block.resnets.0.norm1.gamma"
MULTIPLES = (1, 2, 4, 4)
RESNETS, LATENT_CHANNELS = 2, 16
# Blocks of a level of the decoder: its resnets and what enlarges its output.
LEVEL_BLOCKS = RESNETS + 2
RENAMED = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"^encoder\.downsamples\.", "encoder.down_blocks."),
)
_UPSAMPLE = re.compile(r"^decoder\.upsamples\.(\d+)\.")


def find_video_vae(infos: TensorInfos) -> StoredNetwork | None:
    """Return the autoencoder of a file; None if it has none of this class."""
    for prefix in PREFIXES:
        is_original = has_keys(infos, prefix, ORIGINAL_MARK)
        if not is_original and not has_keys(infos, prefix, DIFFUSERS_MARK):
            continue
        own = {key: key.removeprefix(prefix) for key in infos if key.startswith(prefix)}
        names = {
            key: rename(theirs) if is_original else theirs
            for key, theirs in own.items()
            if theirs.startswith(("encoder.", "decoder.", "conv1.", "conv2.", "quant_", "post_"))
        }
        stored = rename_infos(infos, names)
        if "decoder.conv_in.weight" not in stored or "encoder.conv_in.weight" not in stored:
            return None
        config = {
            "base_dim": stored["encoder.conv_in.weight"].shape[0],
            "z_dim": stored["decoder.conv_in.weight"].shape[1],
            "dim_mult": list(MULTIPLES),
            "num_res_blocks": RESNETS,
        }
        return StoredNetwork(config, names, class_name=CLASS_NAME)
    return None


def rename(theirs: str) -> str:
    """Return diffusers' name for one of the original code."""
    for old, new in RENAMED:
        theirs = re.sub(old, new, theirs)
    upsample = _UPSAMPLE.match(theirs)
    if upsample is None:
        return theirs
    level, block = divmod(int(upsample[1]), LEVEL_BLOCKS)
    part = f"resnets.{block}" if block < LEVEL_BLOCKS - 1 else "upsamplers.0"
    return f"decoder.up_blocks.{level}.{part}.{theirs[upsample.end() :]}"


def video_vae_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of an autoencoder."""
    base, latent = config["base_dim"], config["z_dim"]
    widths = [base * multiple for multiple in MULTIPLES]
    yield from _conv("encoder.conv_in", base, 3)
    current, block = base, 0
    for level, width in enumerate(widths):
        for _ in range(RESNETS):
            yield from _resnet(f"encoder.down_blocks.{block}", current, width)
            current, block = width, block + 1
        if level < len(widths) - 1:
            yield from _conv(f"encoder.down_blocks.{block}.resample.1", width, width, 9)
            if level:
                yield from _conv(f"encoder.down_blocks.{block}.time_conv", width, width, 3)
            block += 1
    yield from _middle("encoder", current)
    yield "encoder.norm_out.gamma", current
    yield from _conv("encoder.conv_out", 2 * latent, current)
    yield from _conv("quant_conv", 2 * latent, 2 * latent, 1)
    yield from _conv("post_quant_conv", latent, latent, 1)
    yield from _conv("decoder.conv_in", current, latent)
    yield from _middle("decoder", current)
    for level, width in enumerate(reversed(widths)):
        for number in range(RESNETS + 1):
            yield from _resnet(f"decoder.up_blocks.{level}.resnets.{number}", current, width)
            current = width
        if level < len(widths) - 1:
            upsampler = f"decoder.up_blocks.{level}.upsamplers.0"
            yield from _conv(f"{upsampler}.resample.1", width // 2, width, 9)
            if level < RESNETS:
                yield from _conv(f"{upsampler}.time_conv", 2 * width, width, 3)
            current = width // 2
    yield "decoder.norm_out.gamma", current
    yield from _conv("decoder.conv_out", 3, current)


def _conv(name: str, outputs: int, inputs: int, kernel: int = 27) -> Parameters:
    yield f"{name}.weight", outputs * inputs * kernel
    yield f"{name}.bias", outputs


def _resnet(name: str, inputs: int, outputs: int) -> Parameters:
    yield f"{name}.norm1.gamma", inputs
    yield from _conv(f"{name}.conv1", outputs, inputs)
    yield f"{name}.norm2.gamma", outputs
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.conv_shortcut", outputs, inputs, 1)


def _middle(half: str, width: int) -> Parameters:
    for number in (0, 1):
        yield from _resnet(f"{half}.mid_block.resnets.{number}", width, width)
    yield f"{half}.mid_block.attentions.0.norm.gamma", width
    yield from _conv(f"{half}.mid_block.attentions.0.to_qkv", 3 * width, width, 1)
    yield from _conv(f"{half}.mid_block.attentions.0.proj", width, width, 1)
