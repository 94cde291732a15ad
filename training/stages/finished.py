"""Finished stages as small files: averages in half precision, without what it took to get there.

`<stage>.part1.pt`, `<stage>.part2.pt`, ...: a run folder that holds nothing else can be exported.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from training.stages.stage import save_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from training.stages.stage import History

# A part's weights take at most so many bytes.
PART = 12 * 2**20


def save_finished(
    folder: Path,
    stage: str,
    modules: Mapping[str, nn.Module],
    history: History,
    copies: Path | None = None,
) -> None:
    """Write the averages of a stage into the run folder, and copies of the files elsewhere."""
    parts: list[dict[str, Tensor]] = [{}]
    taken = 0
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            small = (value.half() if value.is_floating_point() else value).cpu()
            taken += small.nbytes
            if taken > PART:
                parts.append({})
                taken = small.nbytes
            parts[-1][f"{name}:{_plain(key)}"] = small.contiguous()
    for number, weights in enumerate(parts, 1):
        path = folder / f"{stage}.part{number}.pt"
        save_atomically({"history": asdict(history), "weights": weights}, path)
        if copies:
            copies.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copies / f"{path.name}.copying")
            (copies / f"{path.name}.copying").replace(copies / path.name)


def is_finished(folder: Path, stage: str) -> bool:
    """Whether the run folder has a stage's files."""
    return (folder / f"{stage}.part1.pt").exists()


def load_finished(folder: Path, stage: str, modules: Mapping[str, nn.Module]) -> None:
    """Give modules the weights of a finished stage, in their own precision.

    Raises:
        RuntimeError: a weight is missing, or is not one of theirs.
    """
    weights: dict[str, Any] = {}
    for path in sorted(folder.glob(f"{stage}.part*.pt")):
        weights |= torch.load(path, weights_only=True)["weights"]
    for name, module in modules.items():
        own = {_plain(key): key for key in module.state_dict()}
        state = {
            own.get(key.partition(":")[2], key): value
            for key, value in weights.items()
            if key.startswith(f"{name}:")
        }
        module.load_state_dict(state)


def _plain(key: str) -> str:
    """A weight's name in all versions of transformers."""
    return key.removeprefix("text_model.")
