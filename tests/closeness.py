"""Distances between computed tensors, relative to the spread of the expected values.

Processors round differently: vector units, fused multiplication, libraries and thread counts
change the last bits of the same arithmetic. Only results of one machine, one shape and one number
of threads are promised to be bit-equal.
"""

from __future__ import annotations

from torch import Tensor

ROUNDING = 1e-5
"""Enough for float32 arithmetic of some hundred operations a value."""


def largest_error(given: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the standard deviation of `expected`."""
    return float((_double(given) - _double(expected)).abs().max() / _spread(given, expected))


def mean_error(given: Tensor, expected: Tensor) -> float:
    """Return the root of the mean squared difference, as a share of the standard deviation.

    For values that a steep function amplifies, each by another factor.
    """
    change = _double(given) - _double(expected)
    return float(change.square().mean().sqrt() / _spread(given, expected))


def _double(values: Tensor) -> Tensor:
    return values.detach().double()


def _spread(given: Tensor, expected: Tensor) -> float:
    assert given.shape == expected.shape
    assert given.dtype == expected.dtype
    return float(_double(expected).std())
