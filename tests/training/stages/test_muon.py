"""Muon: orthogonal steps for the matrices inside a network, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from training.presets import TINY
from training.stages.denoiser import build_denoiser
from training.stages.muon import Muon, is_hidden, orthogonal
from training.stages.stage import Plan, Stage, train

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(steps=12, rate=0.05, warmup=2, save_every=5, show_every=100, muon=1.0)


class Killed(Exception):
    """Stands for a kill between two steps."""


def make_stage(kill_at: int = -1, steps: int = PLAN.steps) -> Stage:
    """Two layers that learn to turn their input round."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        if step == kill_at:
            raise Killed
        batch = torch.randn(16, 4, generator=generator)
        error: Tensor = (layers(batch) - batch.flip(1)).pow(2).mean()
        return error

    return Stage("turn", {"layers": layers}, loss, replace(PLAN, steps=steps), seed=1)


def weights(modules: dict[str, nn.Module]) -> list[float]:
    return torch.cat([p.flatten() for p in modules["layers"].parameters()]).tolist()


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_all_singular_values_of_a_step_are_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    values = torch.linalg.svdvals(orthogonal(matrix))

    assert 0.4 < float(values.min()) <= float(values.max()) < 1.3


def test_a_step_does_not_depend_on_the_size_of_the_gradient() -> None:
    matrix = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(orthogonal(1000 * matrix), orthogonal(matrix), rtol=0.02, atol=0.02)


def test_a_convolution_counts_as_a_matrix_of_its_output_channels() -> None:
    kernel = nn.Parameter(torch.zeros(4, 3, 3, 3))
    kernel.grad = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    Muon([{"params": [kernel], "lr": 1.0}]).step()

    # The scale of arXiv 2502.16982: 0.2 times the root of the larger side.
    values = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.2 * 27**0.5)
    assert 0.4 < float(values.min()) <= float(values.max()) < 1.3


def test_outer_layers_biases_and_embeddings_are_not_hidden() -> None:
    named = dict(build_denoiser(TINY).named_parameters())

    hidden = {name for name, parameter in named.items() if is_hidden(name, parameter)}

    assert "down_blocks.0.resnets.0.conv1.weight" in hidden
    assert "mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight" in hidden
    assert (
        not {"conv_in.weight", "conv_out.weight", "conv_in.bias", "conv_norm_out.weight"} & hidden
    )


def test_a_killed_and_resumed_stage_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    full = train(make_stage(), tmp_path / "whole", resume=False)
    with pytest.raises(Killed):
        train(make_stage(kill_at=8), tmp_path / "killed", resume=False)

    resumed = train(make_stage(), tmp_path / "killed", resume=True)

    assert weights(resumed) == weights(full)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    stage = make_stage(steps=300)
    before = stage.loss(0, torch.Generator().manual_seed(0)).item()

    train(stage, tmp_path, resume=False)

    assert stage.loss(0, torch.Generator().manual_seed(0)).item() < 0.05 * before
