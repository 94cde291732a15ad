"""Filters: kernels, bounds, dithering, and morphology compared with scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from latentloom.diffusion.images import filters

IMAGE = torch.rand(2, 9, 11, 3, generator=torch.Generator().manual_seed(3))


def test_blurring_and_sharpening_do_not_change_a_uniform_image() -> None:
    plain = torch.full((1, 5, 6, 3), 0.3)
    torch.testing.assert_close(filters.blur(plain, 31, 1.0), plain)
    torch.testing.assert_close(filters.sharpen(plain, 2, 1.0, 5.0), plain, atol=1e-5, rtol=0)


def test_a_blur_is_a_convolution_with_reflected_borders() -> None:
    kernel = filters.gaussian_kernel(3, 0.7).numpy()
    expected = ndimage.convolve(IMAGE[0, ..., 1].numpy(), kernel, mode="mirror")
    blurred = filters.blur(IMAGE, 3, 0.7)[0, ..., 1].numpy()
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_a_single_pixel_can_be_blurred() -> None:
    pixel = torch.rand(1, 1, 1, 3)
    torch.testing.assert_close(filters.blur(pixel, 4, 1.0), pixel)


def test_noise_is_reproducible_by_seed_and_stays_in_range() -> None:
    noisy = filters.add_noise(IMAGE, 7, 0.5)
    assert torch.equal(noisy, filters.add_noise(IMAGE, 7, 0.5))
    assert not torch.equal(noisy, filters.add_noise(IMAGE, 8, 0.5))
    assert 0.0 <= float(noisy.min()) <= float(noisy.max()) <= 1.0
    assert torch.equal(filters.add_noise(IMAGE, 7, 0.0), IMAGE)


@pytest.mark.parametrize("dither", ["none", "floyd-steinberg", "bayer-2", "bayer-16"])
def test_a_quantized_image_has_at_most_the_given_number_of_colours(dither: str) -> None:
    few = filters.quantize(IMAGE, 5, dither)
    assert few.shape == IMAGE.shape
    assert len(np.unique(few[0].reshape(-1, 3).numpy(), axis=0)) <= 5


def test_ordered_dithering_preserves_the_mean_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)[None, ..., None].repeat(1, 1, 1, 3)
    shown = filters.quantize(ramp, 4, "bayer-4")[0, ..., 0].mean(0)
    plain = filters.quantize(ramp, 4, "none")[0, ..., 0].mean(0)
    assert len(np.unique(shown.numpy())) > len(np.unique(plain.numpy()))


def test_a_bayer_matrix_contains_each_threshold_once() -> None:
    matrix = filters.bayer(4)
    assert matrix.shape == (4, 4)
    assert sorted((matrix + 0.5).flatten() * 16) == list(range(16))
    assert (filters.bayer(2) * 4 + 2).tolist() == [[0, 2], [3, 1]]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        ("erode", ndimage.grey_erosion),
        ("dilate", ndimage.grey_dilation),
        ("gradient", ndimage.morphological_gradient),
        ("open", ndimage.grey_opening),
        ("close", ndimage.grey_closing),
        ("top_hat", ndimage.white_tophat),
        ("bottom_hat", ndimage.black_tophat),
    ],
)
def test_morphology_equals_scipy(operation: str, reference: object, size: int) -> None:
    assert callable(reference)
    expected = reference(IMAGE[1, ..., 0].numpy(), size=(size, size))
    filtered = filters.morph(IMAGE, operation, size)[1, ..., 0].numpy()
    np.testing.assert_allclose(filtered, expected, atol=1e-6)


def test_an_even_kernel_larger_than_the_image_reaches_everywhere() -> None:
    assert bool((filters.morph(IMAGE, "dilate", 998) == IMAGE.amax((1, 2), True)).all())


def test_the_middle_of_the_sharpening_kernel_is_rounded_as_in_comfyui() -> None:
    for radius, sigma, alpha in ((1, 1.0, 1.0), (5, 0.3, 0.9), (31, 2.0, 5.0)):
        expected = filters.gaussian_kernel(radius, sigma) * (-10.0 * alpha)
        expected[radius, radius] = expected[radius, radius] - expected.sum() + 1.0
        assert torch.equal(filters.sharpening_kernel(radius, sigma, alpha), expected)
