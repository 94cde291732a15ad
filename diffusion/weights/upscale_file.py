"""Upscaling networks on disk: their configuration and keys. No torch here.

Supported are ESRGAN networks with the keys of its first release, of its test code and of
Real-ESRGAN, and Real-ESRGAN's compact networks.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..errors import ModelFileError
from ..families.stored import StoredNetwork, TensorInfos
from .headers import read_tensor_infos
from .parameters import check_parameters, compact_sizes, rrdb_sizes

WRAPPERS = ("params_ema.", "params.", "module.")
SUPPORTED = "ESRGAN network (RRDB) or compact one (SRVGG)"
# The names here, by those of ESRGAN's test code and of Real-ESRGAN.
OUR_MODULES = {
    "RRDB_trunk": "body",
    "trunk_conv": "conv_body",
    "upconv1": "conv_up.0",
    "upconv2": "conv_up.1",
    "HRconv": "conv_hr",
    "conv_up1": "conv_up.0",
    "conv_up2": "conv_up.1",
}
OUTER_LAYERS = ("conv_first", "conv_body", "conv_hr", "conv_last")


def read_upscale_network(path: Path) -> StoredNetwork:
    """Return the network of a file; `kind` in its configuration is rrdb or compact.

    Raises:
        ModelFileError: it is damaged, unsafe, another network, or lacks weights.
    """
    infos = read_tensor_infos(path)
    plain = {_unwrap(name): name for name in infos}
    is_compact = "body.0.weight" in plain
    try:
        network = (_read_compact if is_compact else _read_rrdb)(infos, plain)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFileError(f"{path.name} holds no {SUPPORTED}") from error
    check_parameters(path, network, compact_sizes if is_compact else rrdb_sizes)
    return network


def _unwrap(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _read_rrdb(infos: TensorInfos, plain: dict[str, str]) -> StoredNetwork:
    is_first_release = "model.0.weight" in plain
    names = _map_first_release(plain) if is_first_release else _map_later(plain)
    shapes = {ours: infos[theirs].shape for theirs, ours in names.items()}
    features, channels = shapes["conv_first.weight"][:2]
    unshuffle = math.isqrt(channels // 3)
    ups = sum(name.startswith("conv_up.") for name in shapes) // 2
    has_other_layers = any(
        name.endswith("weight") and len(shape) != 4 for name, shape in shapes.items()
    )
    if has_other_layers or channels != 3 * unshuffle**2 or shapes["conv_last.weight"][0] != 3:
        raise ValueError("not a network for images with three channels")
    config = {
        "kind": "rrdb",
        "features": features,
        "growth": shapes["body.0.rdb1.conv1.weight"][0],
        "blocks": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("body.")),
        "ups": ups,
        "unshuffle": unshuffle,
    }
    if 2**ups % unshuffle:
        raise ValueError("its scale is not a whole number")
    return StoredNetwork(config, names)


def _map_first_release(plain: dict[str, str]) -> dict[str, str]:
    """Return our name of each key of the first release, which numbers all layers."""
    numbers = sorted(
        {int(name.split(".")[1]) for name in plain if re.match(r"model\.\d+\.w", name)}
    )
    first, *ups, hr, last = numbers
    layers = {first: "conv_first", hr: "conv_hr", last: "conv_last"}
    layers |= {index: f"conv_up.{number}" for number, index in enumerate(ups)}
    trunk = max(int(name.split(".")[3]) for name in plain if name.startswith("model.1.sub."))
    names = {}
    for name, theirs in plain.items():
        block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.(\w+)", name)
        outer = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
        if block:
            number, dense, conv, kind = block.groups()
            names[theirs] = f"body.{number}.rdb{dense}.{conv}.{kind}"
        elif outer:
            names[theirs] = f"{layers[int(outer[1])]}.{outer[2]}"
        elif name.startswith(f"model.1.sub.{trunk}."):
            names[theirs] = f"conv_body.{name.rpartition('.')[2]}"
        else:
            raise ValueError(name)
    return names


def _map_later(plain: dict[str, str]) -> dict[str, str]:
    """Return our name of each key of the test code or of Real-ESRGAN."""
    names = {}
    for name, theirs in plain.items():
        module, _, inner = name.partition(".")
        ours = OUR_MODULES.get(module, module)
        if ours != "body" and ours not in OUTER_LAYERS and not ours.startswith("conv_up."):
            raise ValueError(name)
        names[theirs] = f"{ours}.{inner.replace('RDB', 'rdb')}"
    return names


def _read_compact(infos: TensorInfos, plain: dict[str, str]) -> StoredNetwork:
    shapes = {name: infos[theirs].shape for name, theirs in plain.items()}
    last = max(int(name.split(".")[1]) for name in shapes)
    features, channels = shapes["body.0.weight"][:2]
    scale = math.isqrt(shapes[f"body.{last}.weight"][0] // 3)
    if channels != 3 or shapes[f"body.{last}.weight"][0] != 3 * scale**2 or last < 2 or last % 2:
        raise ValueError("not a network for images with three channels")
    if any(len(shapes[f"body.{index}.weight"]) != 1 for index in range(1, last, 2)):
        raise ValueError("not a network with PReLU activations")
    config = {"kind": "compact", "features": features, "layers": last // 2 - 1, "scale": scale}
    return StoredNetwork(config, {theirs: ours for ours, theirs in plain.items()})
