"""LoRA and related kinds of changes: from a layer's tensors to its changed weight.

Source: LoRA (arXiv 2106.09685), LoHa and LoKr (LyCORIS, arXiv 2309.14859), DoRA (arXiv
2402.09353), OFT (arXiv 2306.07280), GLoRA (arXiv 2306.07967).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..compatibility import CompatibilityMode
from ..errors import ModelFileError
from ..weights.lora_file import Role

# Parts of the first axis of a layer, in the order of the rows of a network's own weight.
Rows = tuple[slice, ...]
# Roles of tensors that have the layer's rows.
ROLES_WITH_ROWS = frozenset({"up", "diff", "diff_b", "set", "dora_scale"})
# Roles of changes whose rows can be taken before they are multiplied.
CUT_ROLES = ROLES_WITH_ROWS | {"down", "alpha"}
# Roles of changes that depend on the whole layer's weights.
UNCUT_ROLES = frozenset({"oft_blocks", "glora_a1", "dora_scale"})


def apply_change(
    weight: Tensor,
    roles: Mapping[Role, Tensor],
    strength: float,
    mode: CompatibilityMode = "current",
    rows: Rows | None = None,
) -> Tensor:
    """Return a weight with one layer's change, float32; with `rows` of it only.

    ComfyUI's order of operations: the factors are multiplied first, the matrices next, and the
    product of both is added in float32.

    Raises:
        KeyError: a role is missing.
        ModelFileError: the change has another shape.
    """
    if "set" in roles:
        return roles["set"].float().reshape(weight.shape)
    if rows is not None and not UNCUT_ROLES.isdisjoint(roles):
        raise ModelFileError("a change of joined layers that depends on their weights")
    difference, factor = _difference(weight, roles, strength)
    difference = difference if rows is None else take_rows(difference, rows)
    if difference.numel() != weight.numel():
        shapes = f"{tuple(weight.shape)}, got {tuple(difference.shape)}"
        raise ModelFileError(f"a change of weights: expected the shape {shapes}")
    difference = difference.reshape(weight.shape)
    lengths = roles.get("dora_scale")
    if lengths is None:
        return weight + (strength * factor) * difference
    return weight + strength * (_dora(weight, factor * difference, lengths, mode) - weight)


def take_rows(tensor: Tensor, rows: Rows) -> Tensor:
    """Return parts of the first axis, one after another."""
    return torch.cat([tensor[part] for part in rows])


def _difference(
    weight: Tensor, roles: Mapping[Role, Tensor], strength: float
) -> tuple[Tensor, float]:
    """Return the difference that a change adds, and the factor to apply beside `strength`."""
    if "up" in roles and "down" in roles:
        up, down = (roles[role].float().flatten(1) for role in ("up", "down"))
        scale = _scale(roles, down.shape[0])
        if "mid" in roles:
            return torch.einsum("or,rskl,si->oikl", up, roles["mid"].float(), down), scale
        return up @ down, scale
    if "hada_w1_a" in roles:
        product: Tensor = _hadamard_factor(roles, "1") * _hadamard_factor(roles, "2")
        return product, _scale(roles, roles["hada_w1_b"].shape[0])
    if "lokr_w1" in roles or "lokr_w1_a" in roles:
        return _kronecker(roles)
    if "oft_blocks" in roles:
        return _oft(weight, roles, strength), 1.0
    if "glora_a1" in roles:
        return _glora(weight, roles)
    return (roles["diff_b"] if "diff_b" in roles else roles["diff"]).float(), 1.0


def _oft(weight: Tensor, roles: Mapping[Role, Tensor], strength: float) -> Tensor:
    """Return OFT's difference: blocks of outputs, rotated by the Cayley transform.

    The rotations come from the skew parts of the file's blocks. The strength counts twice, as in
    ComfyUI. Source: arXiv 2306.07280, section 3.
    """
    blocks = roles["oft_blocks"].float()
    if blocks.ndim != 3:
        raise ModelFileError("BOFT adapters are not supported")
    count, size, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    limit = float(roles["alpha"]) if "alpha" in roles else 0.0
    if limit > 0:
        skew = skew * (limit / (skew.norm() + 1e-8)).clamp(max=1.0)
    identity = torch.eye(size, device=skew.device)
    rotation = (identity + skew) @ (identity - skew).inverse()
    rows = weight.reshape(count, size, -1)
    return strength * ((rotation - identity).transpose(1, 2) @ rows).reshape(weight.shape)


def _glora(weight: Tensor, roles: Mapping[Role, Tensor]) -> tuple[Tensor, float]:
    """Return GLoRA's difference and factor: the weight times one low-rank matrix, plus another.

    Older and newer files have the factors in opposite order. Source: arXiv 2306.07967,
    equation 8.
    """
    a1, a2, b1, b2 = (
        roles[f"glora_{name}"].float().flatten(1) for name in ("a1", "a2", "b1", "b2")
    )
    is_older = b2.shape[1] == b1.shape[0] == a1.shape[0] == a2.shape[1]
    is_newer = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    is_square = a2.shape[0] == weight.shape[0] == weight.shape[1]
    if is_older and (is_square or not is_newer):
        scale, rows = _scale(roles, a1.shape[0]), weight.flatten(1)
        return (b2 @ b1 + rows @ a2 @ a1).reshape(weight.shape), scale
    if not is_newer:
        raise ModelFileError("the factors of a GLoRA layer do not fit each other")
    product = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2)
    return product + (b1 @ b2).reshape(weight.shape), _scale(roles, a2.shape[0])


def _scale(roles: Mapping[Role, Tensor], rank: int) -> float:
    """Return alpha by the rank; a layer of rank 0 changes nothing."""
    return float(roles["alpha"]) / rank if "alpha" in roles and rank else 1.0


def _hadamard_factor(roles: Mapping[Role, Tensor], number: str) -> Tensor:
    left, right = (roles[f"hada_w{number}_{side}"].float() for side in "ab")
    core = roles.get(f"hada_t{number}")
    if core is None:
        return left @ right
    return torch.einsum("rskl,ro,si->oikl", core.float(), left, right)


def _kronecker(roles: Mapping[Role, Tensor]) -> tuple[Tensor, float]:
    ranks, factors = [], []
    for number in "12":
        factor = roles.get(f"lokr_w{number}")
        if factor is None:
            left, right = (roles[f"lokr_w{number}_{side}"].float() for side in "ab")
            ranks.append(right.shape[0])
            core = roles.get("lokr_t2") if number == "2" else None
            if core is None:
                factor = left @ right.flatten(1)
                factor = factor.reshape(*factor.shape[:1], *right.shape[1:])
            else:
                factor = torch.einsum("rskl,ro,si->oikl", core.float(), left, right)
        factors.append(factor.float())
    first, second = factors
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    product: Tensor = torch.kron(first, second.contiguous())
    return product, _scale(roles, ranks[-1]) if ranks else 1.0


def _dora(weight: Tensor, difference: Tensor, scale: Tensor, mode: CompatibilityMode) -> Tensor:
    """Return the changed weight with its rows or columns rescaled to lengths of `scale`.

    The shape of `scale` says which. The lengths are measured after the change; ComfyUI 0.3.64
    measures those of rows before it. Source: arXiv 2402.09353, equation 5.
    """
    scale, changed = scale.float(), weight + difference
    axis = 0 if scale.shape[0] == weight.shape[0] else 1
    measured = weight if axis == 0 and mode == "0.3.64" else changed
    rows = measured.transpose(0, axis).flatten(1)
    shape = [1] * weight.ndim
    shape[axis] = -1
    lengths = rows.norm(dim=1) + torch.finfo(torch.float32).eps
    scaled: Tensor = changed * (scale.flatten() / lengths).reshape(shape)
    return scaled
