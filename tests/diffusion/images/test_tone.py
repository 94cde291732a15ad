"""Lab and CIEDE2000 compared with published values; tone matching."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.images.lab import delta_e, to_lab, to_rgb
from latentloom.diffusion.images.tone import fix_tone

# From the test data of Sharma, Wu and Dalal (2005).
PAIRS = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, 2.8361, -74.0200), (50.0, 0.0, -82.7485), 3.4412),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), PAIRS)
def test_ciede2000_gives_the_published_values(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    pair = [torch.tensor(color, dtype=torch.float64) for color in (first, second)]
    assert float(delta_e(*pair)) == pytest.approx(expected, abs=5e-5)
    assert float(delta_e(*reversed(pair))) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    assert to_lab(torch.tensor(rgb)).tolist() == pytest.approx(lab, abs=0.02)


def test_lab_round_trip_gives_the_image() -> None:
    image = torch.rand(2, 5, 6, 3)
    torch.testing.assert_close(to_rgb(to_lab(image)), image, atol=2e-6, rtol=0)


def scene(seed: int = 2) -> torch.Tensor:
    return torch.rand(1, 24, 24, 3, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3


def box() -> torch.Tensor:
    mask = torch.zeros(1, 24, 24)
    mask[:, 8:16, 8:16] = 1.0
    return mask


def tinted(image: torch.Tensor) -> torch.Tensor:
    """Shift the image in Lab, darker and yellower."""
    return to_rgb(to_lab(image) + torch.tensor([-6.0, 0.0, 9.0], dtype=torch.float64))


def test_a_drift_of_the_full_image_is_removed() -> None:
    fixed = fix_tone(tinted(scene()), scene(), box(), 4, 1.0, fix_drift=True)
    torch.testing.assert_close(fixed, scene(), atol=1e-4, rtol=0)


def test_half_the_strength_removes_half_of_the_drift() -> None:
    painted = tinted(scene())
    fixed = fix_tone(painted, scene(), box(), 4, 0.5, fix_drift=True)
    torch.testing.assert_close(fixed, (painted + scene()) / 2, atol=1e-4, rtol=0)


def test_the_inside_gets_the_mean_of_its_surroundings_only() -> None:
    painted = torch.where(box()[..., None] == 1, tinted(scene()), scene())
    fixed = fix_tone(painted, scene(), box(), 4, 1.0, fix_drift=False)
    outside = box() == 0
    assert torch.equal(fixed[outside], painted[outside])
    ring = torch.zeros(1, 24, 24)
    ring[:, 4:20, 4:20] = 1.0
    around = to_lab(scene()[(ring == 1) & outside]).mean(0)
    off = [(to_lab(tone[~outside]).mean(0) - around).norm() for tone in (painted, fixed)]
    assert off[1] < 0.05 * off[0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_a_ring_nothing_changes(value: float) -> None:
    painted = tinted(scene())
    mask = torch.full((1, 24, 24), value)
    assert torch.equal(fix_tone(painted, scene(), mask, 4, 1.0, fix_drift=True), painted)


def test_a_flat_colour_is_shifted_but_not_scaled() -> None:
    flat = torch.full((1, 24, 24, 3), 0.25)
    fixed = fix_tone(flat, torch.full_like(flat, 0.5), box(), 4, 1.0, fix_drift=True)
    torch.testing.assert_close(fixed, torch.full_like(flat, 0.5), atol=1e-5, rtol=0)
