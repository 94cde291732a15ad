"""Upscaling networks on disk: what a file's keys say of the network. No torch here.

Read are ESRGAN's nets in the layouts of its first release, of its test code and of Real-ESRGAN,
and Real-ESRGAN's compact nets.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..errors import ModelFileError
from .headers import read_tensor_infos
from .keys import StoredNetwork, TensorInfos

WRAPPERS = ("params_ema.", "params.", "module.")
EXPECTED = "an ESRGAN net (RRDB) or a compact one (SRVGG)"
# Names of ESRGAN's test code, and those of Real-ESRGAN that this code uses.
TEST_CODE = {
    "RRDB_trunk": "body",
    "trunk_conv": "conv_body",
    "upconv1": "conv_up.0",
    "upconv2": "conv_up.1",
    "HRconv": "conv_hr",
    "conv_up1": "conv_up.0",
    "conv_up2": "conv_up.1",
}
TOP = ("conv_first", "conv_body", "conv_hr", "conv_last")


def read_upscale_network(path: Path) -> StoredNetwork:
    """The network of a file: its configuration, of which `kind` is rrdb or compact, and its keys.

    Raises:
        ModelFileError: it is damaged, unsafe, or no such network.
    """
    heads = read_tensor_infos(path)
    plain = {_unwrapped(name): name for name in heads}
    try:
        part = _compact(heads, plain) if "body.0.weight" in plain else _rrdb(heads, plain)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFileError(f"{path.name} holds no {EXPECTED.removeprefix('an ')}") from error
    return part


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _rrdb(heads: TensorInfos, plain: dict[str, str]) -> StoredNetwork:
    ours = _first_release(plain) if "model.0.weight" in plain else _later(plain)
    shapes = {mine: heads[theirs].shape for theirs, mine in ours.items()}
    features, channels = shapes["conv_first.weight"][:2]
    unshuffle = math.isqrt(channels // 3)
    ups = sum(name.startswith("conv_up.") for name in shapes) // 2
    flat = any(name.endswith("weight") and len(shape) != 4 for name, shape in shapes.items())
    if flat or channels != 3 * unshuffle**2 or shapes["conv_last.weight"][0] != 3:
        raise ValueError("not a net for images of three channels")
    config = {
        "kind": "rrdb",
        "features": features,
        "growth": shapes["body.0.rdb1.conv1.weight"][0],
        "blocks": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("body.")),
        "ups": ups,
        "unshuffle": unshuffle,
    }
    if 2**ups % unshuffle:
        raise ValueError("its scale is no whole number")
    return StoredNetwork(config, ours)


def _first_release(plain: dict[str, str]) -> dict[str, str]:
    """Keys of the first release: a list of layers, of which only convolutions have weights."""
    tops = sorted({int(name.split(".")[1]) for name in plain if re.match(r"model\.\d+\.w", name)})
    first, *ups, hr, last = tops
    renamed = {first: "conv_first", hr: "conv_hr", last: "conv_last"}
    renamed |= {index: f"conv_up.{number}" for number, index in enumerate(ups)}
    trunk = max(int(name.split(".")[3]) for name in plain if name.startswith("model.1.sub."))
    ours = {}
    for name, theirs in plain.items():
        block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.(\w+)", name)
        top = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
        if block:
            number, dense, conv, kind = block.groups()
            ours[theirs] = f"body.{number}.rdb{dense}.{conv}.{kind}"
        elif top:
            ours[theirs] = f"{renamed[int(top[1])]}.{top[2]}"
        elif name.startswith(f"model.1.sub.{trunk}."):
            ours[theirs] = f"conv_body.{name.rpartition('.')[2]}"
        else:
            raise ValueError(name)
    return ours


def _later(plain: dict[str, str]) -> dict[str, str]:
    ours = {}
    for name, theirs in plain.items():
        head, _, rest = name.partition(".")
        mine = TEST_CODE.get(head, head)
        if mine != "body" and mine not in TOP and not mine.startswith("conv_up."):
            raise ValueError(name)
        ours[theirs] = f"{mine}.{rest.replace('RDB', 'rdb')}"
    return ours


def _compact(heads: TensorInfos, plain: dict[str, str]) -> StoredNetwork:
    shapes = {name: heads[theirs].shape for name, theirs in plain.items()}
    last = max(int(name.split(".")[1]) for name in shapes)
    features, channels = shapes["body.0.weight"][:2]
    scale = math.isqrt(shapes[f"body.{last}.weight"][0] // 3)
    if channels != 3 or shapes[f"body.{last}.weight"][0] != 3 * scale**2 or last < 2 or last % 2:
        raise ValueError("not a net for images of three channels")
    if any(len(shapes[f"body.{index}.weight"]) != 1 for index in range(1, last, 2)):
        raise ValueError("not a net with PReLU activations")
    config = {"kind": "compact", "features": features, "layers": last // 2 - 1, "scale": scale}
    return StoredNetwork(config, {theirs: mine for mine, theirs in plain.items()})
