"""The extra conditioning of SDXL and its refiner: the order of the numbers, the defaults."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.errors import SamplingError
from latentloom.diffusion.families.added import added_inputs
from latentloom.diffusion.families.conditions import Sizes
from latentloom.diffusion.families.family import Family
from latentloom.diffusion.families.refiner import REFINER
from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.families.sdxl import SDXL

X = torch.zeros(2, 4, 8, 12)  # 64 pixels high, 96 wide
POOLED = torch.arange(3.0)[None]


def numbers_of(family: Family, sizes: Sizes | None, side: int = 0) -> list[float]:
    entry = PromptEntry(torch.zeros(1, 77, 4), POOLED, sizes=sizes)
    added = added_inputs(family, X, [entry], [side])
    assert added is not None
    assert torch.equal(added.text_embeds, POOLED.repeat(2, 1))
    first, second = added.time_ids.tolist()
    assert first == second
    numbers: list[float] = first
    return numbers


@pytest.mark.parametrize("side", [0, 1, 2])
def test_a_plain_prompt_is_for_the_latents_size_uncut(side: int) -> None:
    assert numbers_of(SDXL, None, side) == [64, 96, 0, 0, 64, 96]


def test_heights_come_before_widths() -> None:
    assert numbers_of(SDXL, Sizes(1, 2, 3, 4, 5, 6)) == [2, 1, 4, 3, 6, 5]


def test_the_target_is_the_size_by_default() -> None:
    assert numbers_of(SDXL, Sizes(width=1, height=2)) == [2, 1, 0, 0, 2, 1]


@pytest.mark.parametrize(("side", "score"), [(0, 6.0), (1, 2.5), (2, 2.5)])
def test_only_the_positive_side_of_the_refiner_has_a_high_score(side: int, score: float) -> None:
    assert numbers_of(REFINER, None, side) == [64, 96, 0, 0, score]
    assert numbers_of(REFINER, Sizes(score=4.0), side) == [64, 96, 0, 0, 4.0]


def test_a_score_of_zero_is_a_score() -> None:
    assert numbers_of(REFINER, Sizes(1, 2, 3, 4, score=0.0), 0) == [2, 1, 4, 3, 0.0]


def test_each_side_of_a_batch_has_its_own_rows() -> None:
    entries = [PromptEntry(torch.zeros(1, 77, 4), POOLED + side) for side in (0, 1)]
    added = added_inputs(REFINER, X, entries, [0, 1])
    assert added is not None
    assert added.text_embeds[:, 0].tolist() == [0, 0, 1, 1]
    assert added.time_ids[:, 4].tolist() == [6.0, 6.0, 2.5, 2.5]


def test_other_families_get_nothing_and_a_missing_pooled_encoding_is_an_error() -> None:
    plain = PromptEntry(torch.zeros(1, 77, 4))
    assert added_inputs(SD15, X, [plain], [0]) is None
    with pytest.raises(SamplingError, match="expected conditioning with a pooled encoding"):
        added_inputs(SDXL, X, [plain], [0])
