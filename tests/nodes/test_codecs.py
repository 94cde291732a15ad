"""Tensors are told apart by what they hold."""

from __future__ import annotations

import pytest
import torch

import nodes.codecs  # noqa: F401 - registers tensors
from engine.fingerprint import fingerprint


def test_equal_tensors_have_equal_digests() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(tensor) == fingerprint(tensor.clone())


def test_strides_do_not_count() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(tensor.t()) == fingerprint(tensor.t().contiguous())


@pytest.mark.parametrize(
    "other",
    [
        torch.arange(6.0).reshape(3, 2),
        torch.arange(6.0, dtype=torch.float64).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3) + 1e-6,
        torch.arange(6).reshape(2, 3),
    ],
)
def test_shape_dtype_and_values_count(other: torch.Tensor) -> None:
    assert fingerprint(other) != fingerprint(torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int64])
def test_every_dtype_has_a_digest(dtype: torch.dtype) -> None:
    assert len(fingerprint(torch.zeros(3, dtype=dtype))) == 64


def test_a_scalar_and_an_empty_tensor_have_digests() -> None:
    assert fingerprint(torch.tensor(1.0)) != fingerprint(torch.zeros(0))
