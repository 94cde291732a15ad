"""Rotary positions of Qwen-Image's tokens, as the model was trained with.

diffusers has others where an image has an odd number of tokens on a side, or where a reference is
larger than the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

AXES, THETA = (16, 56, 56), 10_000.0
Shape = tuple[int, int, int]


class QwenPositions(nn.Module):
    """Positions on three axes: frames or references; rows; columns, both from the centre.

    Text follows the image on all axes at once, whatever the references' sizes are.
    """

    def forward(
        self,
        shapes: Sequence[Sequence[Shape]],
        device: torch.device | None = None,
        max_txt_seq_len: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Return the rotations of image tokens and of text tokens, n×64 complex numbers.

        Args:
            shapes: for each image of the batch, which are alike: frames, rows and columns of the
                image and of its references, in tokens.
        """
        images = [_image_ids(shape, index) for index, shape in enumerate(shapes[0])]
        _, rows, columns = shapes[0][0]
        start = max(rows // 2, columns // 2)
        text = torch.arange(start, start + max_txt_seq_len)[:, None].expand(-1, len(AXES))
        return _rotate(torch.cat(images)).to(device), _rotate(text).to(device)


def _image_ids(shape: Shape, index: int) -> Tensor:
    """Return the positions n×3 of an image's tokens, or of the reference with this number."""
    frames, rows, columns = shape
    axes = (
        torch.arange(index, index + frames),
        torch.arange(rows) - rows // 2,
        torch.arange(columns) - columns // 2,
    )
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(AXES))


def _rotate(ids: Tensor) -> Tensor:
    """Return a rotation for each pair of numbers of a head."""
    parts = []
    for axis, width in enumerate(AXES):
        powers = torch.arange(0, width, 2, dtype=torch.float64) / width
        angles = ids[:, axis, None].double() / THETA**powers
        parts.append(torch.polar(torch.ones_like(angles), angles))
    return torch.cat(parts, dim=-1).to(torch.complex64)
