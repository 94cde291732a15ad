"""A stage follows its schedule, and a killed one goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from training.stages.stage import Plan, Stage, rate_at, read_history, request_end, train

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(steps=12, rate=0.05, warmup=2, save_every=5, show_every=100)


class Killed(Exception):
    """Stands for a kill between two steps."""


def make_stage(kill_at: int = -1, plan: Plan = PLAN) -> Stage:
    """A linear layer that learns to give back its input."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        if step == kill_at:
            raise Killed
        batch = torch.randn(8, 3, generator=generator)
        error: Tensor = (layer(batch) - batch).pow(2).mean()
        return error

    return Stage("copy", {"layer": layer}, loss, plan, seed=1)


def weights(modules: dict[str, nn.Module]) -> list[float]:
    return torch.cat([p.flatten() for p in modules["layer"].parameters()]).tolist()


def test_the_rate_warms_up_stays_and_falls_to_its_floor() -> None:
    plan = Plan(steps=1000, rate=1.0, warmup=10, fall=500, floor=0.02)

    assert rate_at(plan, 0) == pytest.approx(0.1)
    assert rate_at(plan, 10) == rate_at(plan, 500) == 1.0
    assert rate_at(plan, 750) == pytest.approx(0.51)
    assert rate_at(plan, 1000) == pytest.approx(0.02)


def test_a_later_end_changes_nothing_before_the_rate_falls() -> None:
    plan = Plan(steps=1000, rate=1.0, warmup=10, fall=100)

    assert rate_at(plan, 900) == rate_at(plan, 900, end=1500) == 1.0
    assert rate_at(plan, 1450, end=1500) == pytest.approx(0.51)


def test_a_requested_end_lets_the_rate_fall_and_ends_the_stage(tmp_path: Path) -> None:
    plan = Plan(steps=100, rate=0.05, warmup=2, fall=4, save_every=5, show_every=100)
    with pytest.raises(Killed):
        train(make_stage(kill_at=8, plan=plan), tmp_path, resume=False)

    end = request_end(tmp_path, "copy", plan)
    train(make_stage(plan=plan), tmp_path, resume=True)

    assert end == 5 + 2 * 5 + 4
    assert read_history(tmp_path, "copy").done == end


def test_a_killed_and_resumed_stage_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    full = train(make_stage(), tmp_path / "whole", resume=False)
    with pytest.raises(Killed):
        train(make_stage(kill_at=8), tmp_path / "killed", resume=False)

    resumed = train(make_stage(), tmp_path / "killed", resume=True)

    assert weights(resumed) == weights(full)


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    finished = train(make_stage(), tmp_path, resume=False)

    again = train(make_stage(kill_at=0), tmp_path, resume=True)

    assert weights(again) == weights(finished)


def test_without_resume_a_stage_starts_afresh(tmp_path: Path) -> None:
    train(make_stage(), tmp_path, resume=False)

    with pytest.raises(Killed):
        train(make_stage(kill_at=0), tmp_path, resume=False)


def test_no_half_written_checkpoint_is_left(tmp_path: Path) -> None:
    train(make_stage(), tmp_path, resume=False)

    assert [path.name for path in tmp_path.iterdir()] == ["copy.checkpoint.pt"]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    plan = Plan(steps=200, rate=0.05, warmup=2, average=0.9, show_every=1000)
    batch = torch.eye(3)

    averages = train(make_stage(plan=plan), tmp_path, resume=False)

    assert float((averages["layer"](batch) - batch).pow(2).mean().detach()) < 0.01


def test_a_piped_run_prints_steps_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(steps=4, rate=0.05, warmup=2, show_every=2)

    train(make_stage(plan=plan), tmp_path, resume=False)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["copy 2/4", "copy 4/4"]
    assert all("min left" in line for line in lines)


def test_parameters_named_in_faster_learn_faster(tmp_path: Path) -> None:
    def moved(faster: dict[str, float]) -> list[float]:
        stage = make_stage(plan=replace(PLAN, steps=1))
        before = stage.modules["layer"].get_parameter("bias").detach().clone()
        train(replace(stage, faster=faster), tmp_path, resume=False)
        after = stage.modules["layer"].get_parameter("bias").detach()
        return [float(v) for v in (after - before).abs()]

    plain, fast = moved({}), moved({"bias": 4.0})

    assert fast == pytest.approx([4 * v for v in plain], rel=0.02)
