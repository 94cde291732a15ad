"""Patches of the tokens of self-attention, on a network whose first layer has attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentloom.diffusion.networks.patch import Patch, StepState
from latentloom.diffusion.networks.weights import UNetWeights
from latentloom.diffusion.patches.hypertile import (
    HyperTile,
    choose_parts,
    join_tiles,
    split_into_tiles,
)
from latentloom.diffusion.patches.token_merging import TokenMerging, plan_merge
from latentloom.diffusion.sampling.noise import generator_after_start, start_noise
from latentloom.diffusion.schedules.model_sampling import ModelSampling


@pytest.fixture(scope="module")
def flat() -> UNetWeights:
    """Return a network of two levels with attention, the first over all cells of a latent."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    network = UNet2DConditionModel(
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=8,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return UNetWeights(network, "flat")


def predict(weights: UNetWeights, *patches: Patch, size: tuple[int, int] = (12, 16)) -> Tensor:
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(5))
    state = StepState(ModelSampling(), generator=torch.Generator().manual_seed(1))
    with weights.use(patches, state):
        return weights.predict(x, torch.tensor([7.0, 7.0]), torch.ones(2, 3, 8)).clone()


def query_shapes(weights: UNetWeights, *patches: Patch) -> list[tuple[int, ...]]:
    """Return the batch and number of queries of each self-attention of a prediction, in order."""
    shapes = list[tuple[int, ...]]()

    def record(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        shapes.append(tuple(inputs[0].shape[:2]))

    modules = weights.module.named_modules()
    layers = [layer for name, layer in modules if name.endswith("attn1.to_q")]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        predict(weights, *patches)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


ACTIVE: list[Patch] = [TokenMerging(0.3), TokenMerging(1.0), HyperTile(32), HyperTile(32, 2, 1)]


@pytest.mark.parametrize("patch", ACTIVE, ids=repr)
def test_a_patch_changes_the_prediction_the_same_way_each_time(
    flat: UNetWeights, patch: Patch
) -> None:
    plain, got = predict(flat), predict(flat, patch)
    assert not torch.allclose(got, plain, atol=1e-4)
    assert torch.equal(predict(flat, patch), got)
    assert torch.equal(predict(flat), plain)


NONE: list[Patch] = [TokenMerging(0.0), HyperTile(2048), HyperTile(32, 1, 0)]


@pytest.mark.parametrize(
    ("patch", "size"), [(NONE[0], (12, 16)), (NONE[1], (12, 16)), (NONE[2], (7, 5))]
)
def test_a_patch_that_merges_and_splits_nothing_changes_nothing(
    flat: UNetWeights, patch: Patch, size: tuple[int, int]
) -> None:
    assert torch.equal(predict(flat, patch, size=size), predict(flat, size=size))


def test_odd_grids_are_merged_too(flat: UNetWeights) -> None:
    assert torch.isfinite(predict(flat, TokenMerging(0.5), HyperTile(32), size=(7, 9))).all()
    assert torch.isfinite(predict(flat, TokenMerging(0.5), size=(1, 9))).all()


def test_merging_reduces_queries_only_on_the_largest_grid(flat: UNetWeights) -> None:
    plain, fewer = query_shapes(flat), query_shapes(flat, TokenMerging(0.5))
    large, small = (2, 12 * 16), (2, 6 * 8)
    assert plain == [large, small, small, small, small, large, large]
    half = (2, 12 * 16 // 2)
    assert fewer == [half, small, small, small, small, half, half]


def test_tiles_are_a_batch_down_to_their_depth(flat: UNetWeights) -> None:
    first = query_shapes(flat, HyperTile(32, 1, 0))[0]
    assert first == (2 * 3 * 4, 16)
    assert query_shapes(flat, HyperTile(32, 1, 0))[1] == (2, 48)
    # A side of 6 has no parts of 4 cells or more but itself, one of 8 has two.
    assert query_shapes(flat, HyperTile(32, 1, 1))[1] == (2 * 2, 24)
    assert query_shapes(flat, HyperTile(32, 1, 1, scaled=True))[1] == (2, 48)


def test_merged_tokens_are_means_and_are_restored_as_copies() -> None:
    features = torch.randn(2, 6 * 4, 5)
    merge, unmerge = plan_merge(features, 6, 4, 10, torch.Generator().manual_seed(3))
    fewer, back = merge(features), unmerge(merge(features))
    assert fewer.shape == (2, 14, 5)
    assert len({tuple(row) for row in back[0].tolist()}) == 14
    untouched = (back == features).all(-1).sum(1)
    # Of 18 tokens 10 are merged; of the 6 targets those that took none stay as they were.
    assert ((untouched >= 8) & (untouched < 14)).all()
    # A merged token is restored as the mean of those that share its copy.
    for index, row in enumerate(back[0]):
        alike = (back[0] == row).all(-1)
        torch.testing.assert_close(features[0, alike].mean(0), back[0, index])


def test_equal_tokens_lose_nothing_by_merging() -> None:
    features = torch.randn(1, 1, 5).expand(1, 24, 5)
    merge, unmerge = plan_merge(features, 4, 6, 18, torch.Generator())
    torch.testing.assert_close(unmerge(merge(features)), features)


def test_tiles_are_windows_of_the_grid_and_can_be_joined() -> None:
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    positions = torch.stack([rows, columns], -1).reshape(1, 48, 2)
    tiles = split_into_tiles(positions, [6, 8], [2, 4])
    assert tiles.shape == (8, 6, 2)
    assert tiles[5].tolist() == [[row, column] for row in (3, 4, 5) for column in (2, 3)]
    assert torch.equal(join_tiles(tiles, [6, 8], [2, 4]), positions)


def test_a_tile_attends_to_the_tokens_of_its_number_in_reading_order() -> None:
    """As in ComfyUI, whose attention reads keys that were not split as if they were."""
    seen: list[tuple[Tensor, Tensor]] = []

    class Layer(nn.Module):
        def processor(
            self, _attention: Any, hidden: Tensor, encoder_hidden_states: Tensor
        ) -> Tensor:
            seen.append((hidden, encoder_hidden_states))
            return hidden

    layer, state = Layer(), StepState(ModelSampling())
    height, width = 8, 16
    hidden = torch.arange(height * width).reshape(1, -1, 1)
    tiled = HyperTile(32, 1)._make_processor(state, layer, [height, width])
    assert torch.equal(tiled(layer, hidden), hidden)
    ((queries, keys),) = seen
    # 16 "rows" of 8, since rows and columns are swapped; tiles of 4 by 4 of them.
    assert queries.shape == keys.shape == (8, 16, 1)
    window = torch.arange(4)[:, None] * 8 + torch.arange(4, 8)
    assert queries[1, :, 0].tolist() == window.flatten().tolist()
    assert keys[1, :, 0].tolist() == list(range(16, 32))


@pytest.mark.parametrize(
    ("side", "min_side", "swaps", "expected"),
    [
        (64, 32, 2, {2}),
        (64, 32, 3, {2}),
        (64, 8, 3, {8, 4}),
        (60, 7, 1, {6}),
        (5, 9, 4, {1}),
        (7, 2, 4, {1}),
    ],
)
def test_a_side_is_split_into_even_parts(
    side: int, min_side: int, swaps: int, expected: set[int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    assert {choose_parts(side, min_side, swaps, generator) for _ in range(60)} == expected


def test_patches_draw_what_follows_the_first_noise() -> None:
    generator = torch.Generator().manual_seed(9)
    first = torch.randn(1, 4, 3, 5, generator=generator)
    assert torch.equal(start_noise((1, 4, 3, 5), 9), first)
    after = generator_after_start((1, 4, 3, 5), 9)
    expected = torch.rand(3, generator=generator)
    assert torch.equal(torch.rand(3, generator=after), expected)


def test_fingerprints_of_these_patches_are_their_values() -> None:
    fingerprints = {patch.fingerprint for patch in (*ACTIVE, *NONE)}
    assert len(fingerprints) == len(ACTIVE) + len(NONE)
