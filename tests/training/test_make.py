"""The whole path, from nothing to an exported model, in the tiny preset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from training.__main__ import main
from training.export import SUMS
from training.stages.schedule import draw_timesteps

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PARTS = {
    "model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae", "curves.png",
    "README.md",
}  # fmt: skip


class Killed(Exception):
    """Stands for a kill in the middle of a stage."""


def arguments(folder: Path) -> list[str]:
    return ["--preset=tiny", f"--run={folder / 'run'}", f"--output={folder / 'models'}"]


def kill_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the denoiser draw its timesteps so many times, then raise."""
    left = iter(range(calls))

    def draw_or_die(*arguments: Any) -> Tensor:
        if next(left, None) is None:
            raise Killed
        return draw_timesteps(*arguments)

    monkeypatch.setattr("training.stages.denoiser.draw_timesteps", draw_or_die)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, main(arguments(folder))


def test_all_parts_of_the_diffusers_layout_are_written(whole: tuple[Path, int]) -> None:
    assert {path.name for path in (whole[0] / "models" / "demo").iterdir()} == PARTS


def test_a_model_below_its_bars_exits_with_1(whole: tuple[Path, int]) -> None:
    assert whole[1] == 1


def test_a_killed_and_resumed_run_gives_the_same_model(
    whole: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_after(3, patch)
        with pytest.raises(Killed):
            main(arguments(tmp_path))

    for stage in ("denoiser", "controlnet", "adapter", "export"):
        assert main([*arguments(tmp_path), "--resume", f"--only={stage}"]) == 0

    resumed = (tmp_path / "models" / SUMS).read_text()
    assert resumed == (whole[0] / "models" / SUMS).read_text()


def test_no_path_of_the_machine_is_in_the_model(whole: tuple[Path, int]) -> None:
    texts = [path.read_text() for path in (whole[0] / "models").rglob("*.json")]

    assert not any(str(whole[0]) in text for text in texts)


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--steps=tokenizer=4"])

    assert stop.value.code == 2
    assert "wants STAGE=STEPS" in capsys.readouterr().err
