"""Region nodes: pixels become cells, and the arguments are not modified."""

from __future__ import annotations

import torch

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.conditioning.regions import Area
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.nodes import regions
from latentloom.nodes.codecs import TENSOR_FINGERPRINT

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint
SIDE = (PromptEntry(torch.zeros(1, 77, 32)),)


def test_pixels_become_cells() -> None:
    (entry,) = regions.conditioning_set_area(SIDE, 128, 68, 16, 8, 0.5)
    assert entry.region is not None
    assert entry.region.area == Area(8, 16, 1, 2)
    assert entry.strength == 0.5
    assert SIDE[0].region is None


def test_shares_stay_shares() -> None:
    (entry,) = regions.conditioning_set_area_percentage(SIDE, 0.5, 1.0, 0.25, 0.0)
    assert entry.region is not None
    assert entry.region.area == Area(1.0, 0.5, 0.0, 0.25, is_relative=True)


def test_a_mask_replaces_the_area_only_by_its_bounds() -> None:
    mask = torch.ones(1, 16, 16)
    area = regions.conditioning_set_area(SIDE, 64, 64, 0, 0)
    (plain,) = regions.conditioning_set_mask(area, mask)
    (bounded,) = regions.conditioning_set_mask(area, mask, 0.5, "mask bounds")
    assert plain.region is not None
    assert bounded.region is not None
    assert plain.region.cut_box(16, 16) == (8, 8, 0, 0)
    assert bounded.region.cut_box(16, 16) == (16, 16, 0, 0)


def test_every_field_of_a_region_is_in_its_fingerprint() -> None:
    mask = torch.ones(1, 16, 16)
    sides = [
        SIDE,
        regions.conditioning_set_area(SIDE),
        regions.conditioning_set_area(SIDE, x=8),
        regions.conditioning_set_area_percentage(SIDE),
        regions.conditioning_set_area_strength(SIDE, 0.5),
        regions.conditioning_set_mask(SIDE, mask),
        regions.conditioning_set_mask(SIDE, mask * 0.5),
        regions.conditioning_set_mask(SIDE, mask, 0.5),
        regions.conditioning_set_mask(SIDE, mask, 1.0, "mask bounds"),
    ]
    assert len({fingerprint(side) for side in sides}) == len(sides)
