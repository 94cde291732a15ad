"""Masks from pictures and back."""

from __future__ import annotations

import pytest
import torch

from diffusion.masks import from_picture, invert, to_picture


def test_a_mask_shown_and_read_again_is_the_same() -> None:
    mask = torch.rand(2, 3, 5)
    assert torch.equal(from_picture(to_picture(mask), "blue"), mask)


def test_inverting_twice_gives_the_mask() -> None:
    mask = torch.tensor([[[0.0, 0.25, 1.0]]])
    assert torch.equal(invert(invert(mask)), mask)
    assert invert(mask).flatten().tolist() == [1.0, 0.75, 0.0]


def test_a_picture_without_alpha_has_no_alpha_mask() -> None:
    with pytest.raises(ValueError, match="3 channels has no alpha"):
        from_picture(torch.rand(1, 2, 2, 3), "alpha")
