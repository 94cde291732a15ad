"""A stage by the clock moves its weights as one by steps does, and leaves small files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from training.stages.finished import is_finished, load_finished, save_finished
from training.stages.muon import Muon
from training.stages.stage import History, Plan, Stage, read_history, train
from training.stages.timed import AdamUpdate, MuonUpdate, Work, rate_of

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(steps=10, rate=0.05, warmup=2, fall=4, muon=1.0, seconds=0.2)


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 2, 3), nn.Conv2d(2, 4, 1))
    network = nn.Sequential(*layers)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def make_stage(plan: Plan = PLAN, broken: frozenset[int] = frozenset()) -> Stage:
    """Four convolutions that learn to give zeros; the loss of the broken steps is not a number."""
    network = make_network()

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        batch = torch.randn(2, 3, 6, 6, generator=generator)
        error: Tensor = network(batch).pow(2).mean()
        return error * float("nan") if step in broken else error

    return Stage("zeros", {"network": network}, loss, plan, seed=1)


def with_gradients(network: nn.Module, seed: int) -> list[Tensor]:
    """The network's convolutions, with gradients."""
    weights: list[Tensor] = [weight for weight in network.parameters() if weight.ndim == 4]
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        gradient = torch.randn(weight.shape, generator=generator) * 0.01
        weight.grad = gradient.contiguous(memory_format=torch.channels_last)
    return weights


def test_muon_of_many_shapes_at_once_moves_as_muon_of_one_does() -> None:
    one, many = make_network(), make_network()
    optimizer = Muon([{"params": with_gradients(one, 0), "lr": 0.1, "weight_decay": 0.1}])
    update = MuonUpdate(with_gradients(many, 0), 1.0, 0.1)

    for seed in range(3):
        with_gradients(one, seed)
        with_gradients(many, seed)
        optimizer.step()
        with torch.no_grad():
            assert update.step(torch.tensor(0.1)) == 1

    for expected, got in zip(one.parameters(), many.parameters(), strict=True):
        # The iteration runs in bfloat16, and padded sums have another order.
        torch.testing.assert_close(got, expected, rtol=0.02, atol=0.01)


def test_adamw_of_a_tensor_rate_moves_as_torchs_does() -> None:
    one, many = make_network(), make_network()
    weights, rate = with_gradients(one, 0), 0.1
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=0.1)
    update = AdamUpdate(with_gradients(many, 0), 1.0, 0.1)

    for _ in range(3):
        optimizer.step()
        with torch.no_grad():
            update.step(torch.tensor(rate))

    for expected, got in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_step_without_a_finite_gradient_changes_no_weight() -> None:
    stage = make_stage(replace(PLAN, muon=0.0), frozenset({1}))
    work = Work(stage, {"network": make_network()})
    work.rate.fill_(0.1)
    before = [parameter.detach().clone() for parameter in stage.modules["network"].parameters()]

    work.run(1)

    after = list(stage.modules["network"].parameters())
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    work.fetch()
    assert work.skipped == 1


def test_a_stage_with_seconds_ends_by_the_clock_and_learns(tmp_path: Path) -> None:
    before = float(make_stage().loss(0, torch.Generator().manual_seed(0)).detach())
    stage = make_stage(replace(PLAN, seconds=1.0))

    train(stage, tmp_path, resume=False)

    history = read_history(tmp_path, "zeros")
    assert history.done > PLAN.steps
    assert 1.0 <= history.seconds < 30
    assert float(stage.loss(0, torch.Generator().manual_seed(0)).detach()) < before / 2


def test_the_rate_falls_with_the_share_that_is_done() -> None:
    stage = make_stage()

    assert rate_of(stage, 0, 0.0) == pytest.approx(0.025)
    assert rate_of(stage, 5, 0.6) == pytest.approx(0.05)
    assert rate_of(stage, 5, 0.8) == pytest.approx(0.05 * (0.02 + 0.98 / 2))
    assert rate_of(stage, 5, 1.0) == pytest.approx(0.05 * 0.02)


def test_files_of_a_finished_stage_give_its_weights_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.stages.finished.PART", 300)
    network, other = make_network(), nn.Linear(2, 2)
    history, copies = History(done=7), tmp_path / "copies"

    save_finished(tmp_path, "zeros", {"network": network, "other": other}, history, copies)

    assert is_finished(tmp_path, "zeros")
    assert len(list(copies.glob("zeros.part*.pt"))) > 1
    assert read_history(tmp_path, "zeros").done == 7
    torch.manual_seed(5)
    again = nn.Sequential(*(nn.Conv2d(*c) for c in ((3, 5, 3), (5, 5, 1), (5, 2, 3), (2, 4, 1))))
    load_finished(copies, "zeros", {"network": again, "other": nn.Linear(2, 2)})
    for expected, got in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(got, expected.half().float())
