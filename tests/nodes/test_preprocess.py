"""Preprocessor nodes: refusals; the arithmetic is tested in tests/diffusion."""

from __future__ import annotations

import pytest
import torch

from engine.errors import InputError
from nodes import preprocess


def test_canny_finds_the_outline_of_a_square() -> None:
    picture = torch.zeros(1, 32, 32, 3)
    picture[:, 8:24, 8:24] = 1.0
    edges = preprocess.canny(picture)
    assert edges.shape == picture.shape
    assert edges[:, 12:20, 12:20].count_nonzero() == 0
    assert edges[0, 16, :, 0].sum() == 2


def test_canny_refuses_swapped_thresholds_and_tiny_pictures() -> None:
    with pytest.raises(InputError, match=r"Canny \.low_threshold: .*0\.4.*0\.8") as refused:
        preprocess.canny(torch.zeros(1, 8, 8, 3), 0.8, 0.4)
    assert refused.value.hint == "swap the two"
    with pytest.raises(InputError, match=r"Canny \.image"):
        preprocess.canny(torch.zeros(1, 2, 8, 3))
