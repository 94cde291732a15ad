"""One training stage: steps, schedule, average of the weights, checkpoints, progress.

Every step draws its randomness from (seed, step) alone, so a run that was killed and resumed
gives the weights of an uninterrupted one. Schedules depend on the step, never on a clock.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from training.stages.muon import Muon, is_hidden

if TYPE_CHECKING:
    from pathlib import Path

Loss = Callable[[int, torch.Generator | None], Tensor]
Measure = Callable[[Mapping[str, nn.Module], int], str]


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    The rate stays the same until the last `fall` steps, so that training may go on or end at
    any step: what came before does not depend on it. With `muon` the matrices inside the
    networks learn by Muon, at so many times the rate, and the rest by AdamW.

    With `seconds` a stage takes so long instead of `steps`, of which only the share of `fall`
    counts then; and every so many seconds `snapshots` of the averages are written.
    """

    steps: int
    rate: float
    warmup: int = 50
    fall: int = 0
    floor: float = 0.02
    average: float = 0.997
    weight_decay: float = 1e-3
    muon: float = 0.0
    save_every: int = 250
    show_every: int = 100
    seconds: float = 0.0
    snapshots: float = 0.0


@dataclass(frozen=True)
class Stage:
    """What is trained: modules by name, the loss of a step, and how to judge the average.

    `measure` gets the averages and the steps done, and says in a few words how good they are.
    `half` computes in bfloat16 where that loses little; weights and their steps stay float32.
    `alike` gives, for a step and the share of the stage that is done, a step whose loss is
    computed in the same shapes. `faster` has factors of the rate for parameters whose name holds
    a part. `copies` is a folder for copies of the files of the averages.
    Modules train on the device that they lie on; `loss` brings its batches there.
    """

    name: str
    modules: Mapping[str, nn.Module]
    loss: Loss
    plan: Plan
    seed: int
    measure: Measure | None = None
    half: bool = False
    alike: Callable[[int, float], int] = lambda step, _done: step
    faster: Mapping[str, float] = field(default_factory=dict)
    copies: Path | None = None


@dataclass
class History:
    """How far a stage has come: steps, seconds, and (step, smoothed loss) now and then."""

    done: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)


def rate_at(plan: Plan, step: int, end: int | None = None) -> float:
    """The learning rate of a step: warm-up, flat, then a cosine to the floor at the end."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup))
    left = (plan.steps if end is None else end) - step
    if left >= plan.fall:
        return plan.rate * warm
    fall = 0.5 * (1 - math.cos(math.pi * left / plan.fall))
    return plan.rate * warm * (plan.floor + (1 - plan.floor) * fall)


def read_end(folder: Path, name: str, plan: Plan) -> int:
    """The step that a stage ends at: that of the plan, unless an end was requested."""
    path = folder / f"{name}.end"
    return int(path.read_text()) if path.exists() else plan.steps


def request_end(folder: Path, name: str, plan: Plan) -> int:
    """Have a stage let its rate fall soon and end; return the step of the end.

    A process that trains it looks for the request whenever it saves a checkpoint.
    """
    end = read_history(folder, name).done + 2 * plan.save_every + plan.fall
    (folder / f"{name}.end").write_text(f"{end}\n")
    return end


def train(stage: Stage, folder: Path, *, resume: bool) -> dict[str, nn.Module]:
    """Train a stage's modules in place and return their averages.

    Args:
        stage: what to train.
        folder: where `<name>.checkpoint.pt` is kept.
        resume: go on from the checkpoint, if there is one; a finished stage costs nothing.
    """
    if stage.plan.seconds or _device_of(stage) != "cpu":
        from training.stages.timed import train_timed

        return train_timed(stage, folder)
    averages = {name: copy.deepcopy(module).eval() for name, module in stage.modules.items()}
    optimizers = _optimizers(stage)
    path = folder / f"{stage.name}.checkpoint.pt"
    history = _load(path, stage, averages, optimizers) if resume else History()
    end = read_end(folder, stage.name, stage.plan)
    with Report(stage, history) as report:
        while history.done < end:
            rate = rate_at(stage.plan, history.done, end)
            loss = _step(stage, averages, optimizers, history.done, rate)
            report.show(history.done + 1, end, loss, averages)
            if history.done % stage.plan.save_every == 0 or history.done == end:
                _save(path, stage, averages, optimizers, history)
                end = read_end(folder, stage.name, stage.plan)
    return averages


def read_history(folder: Path, stage: str) -> History:
    """The history of a stage in a run folder; an empty one if it has not begun."""
    timed = folder / f"{stage}.history.json"
    if timed.exists():
        return History(**json.loads(timed.read_text()))
    for path in (folder / f"{stage}.checkpoint.pt", folder / f"{stage}.part1.pt"):
        if path.exists():
            return History(**torch.load(path, weights_only=True, mmap=True)["history"])
    return History()


def generator_at(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def save_atomically(value: object, path: Path) -> None:
    """torch.save through a neighbour file, so that a kill never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(value, partial)
    partial.replace(path)


def _optimizers(stage: Stage) -> list[Optimizer]:
    """AdamW for all parameters, or Muon for the matrices inside and AdamW for the rest."""
    named = [
        (module, path, parameter)
        for module, network in stage.modules.items()
        for path, parameter in network.named_parameters()
        if parameter.requires_grad
    ]
    inside = [item for item in named if stage.plan.muon and is_hidden(item[1], item[2])]
    hidden = {id(parameter) for _, _, parameter in inside}
    rest = [item for item in named if id(item[2]) not in hidden]
    optimizers: list[Optimizer] = [AdamW(_groups(stage, rest), betas=(0.9, 0.99), fused=True)]
    return [*optimizers, Muon(_groups(stage, inside, stage.plan.muon))] if inside else optimizers


def _groups(
    stage: Stage, named: Iterable[tuple[str, str, nn.Parameter]], factor: float = 1.0
) -> list[dict[str, Any]]:
    """The parameters by module and by how much faster they learn."""
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for module, path, parameter in named:
        faster = (f for part, f in stage.faster.items() if part in path)
        groups.setdefault((module, factor * next(faster, 1.0)), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": stage.plan.weight_decay}
        for (_, factor), parameters in groups.items()
    ]


def half_precision(device: str, enabled: bool = True, *, cache: bool = True) -> torch.autocast:
    """Return a context that computes in bfloat16 where the processor is used for it.

    torch's attention asks the processor for AVX-512 and fails if its settings forbid it.
    """
    is_able = device != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.autocast(device, torch.bfloat16, enabled=enabled and is_able, cache_enabled=cache)


def _device_of(stage: Stage) -> str:
    return next(next(iter(stage.modules.values())).parameters()).device.type


def _step(
    stage: Stage,
    averages: Mapping[str, nn.Module],
    optimizers: Sequence[Optimizer],
    step: int,
    rate: float,
) -> float:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for group in groups:
        group["lr"] = rate * group["factor"]
    with half_precision(_device_of(stage), stage.half):
        loss = stage.loss(step, generator_at(stage.seed, step))
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in groups:
        nn.utils.clip_grad_norm_(group["params"], 1.0)
    for optimizer in optimizers:
        optimizer.step()
    # Young averages follow closely; old ones keep `average` of themselves.
    keep = min(stage.plan.average, (2 + step) / (11 + step))
    with torch.no_grad():
        for name, module in stage.modules.items():
            torch._foreach_lerp_(
                list(averages[name].parameters()), list(module.parameters()), 1 - keep
            )
    return loss.item()


def _save(
    path: Path,
    stage: Stage,
    averages: Mapping[str, nn.Module],
    optimizers: Sequence[Optimizer],
    history: History,
) -> None:
    state = {
        "history": asdict(history),
        "modules": {name: module.state_dict() for name, module in stage.modules.items()},
        "averages": {name: module.state_dict() for name, module in averages.items()},
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    save_atomically(state, path)


def _load(
    path: Path,
    stage: Stage,
    averages: Mapping[str, nn.Module],
    optimizers: Sequence[Optimizer],
) -> History:
    if not path.exists():
        return History()
    state = torch.load(path, weights_only=True, map_location="cpu")
    for name, module in stage.modules.items():
        module.load_state_dict(state["modules"][name])
        averages[name].load_state_dict(state["averages"][name])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return History(**state["history"])


class Report:
    """A progress bar on a terminal, a line now and then when piped; keeps the history."""

    def __init__(self, stage: Stage, history: History) -> None:
        self.stage = stage
        self.history = history
        self.first, self.before = history.done, history.seconds
        self.start = time.monotonic()
        self.recent = history.losses[-1][1] if history.losses else math.nan
        self.told = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            disable=not sys.stdout.isatty(),
        )
        self.task = self.bar.add_task(
            stage.name, total=stage.plan.steps, completed=self.first, loss=math.nan
        )

    def __enter__(self) -> Report:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def show(self, done: int, end: int, loss: float, averages: Mapping[str, nn.Module]) -> None:
        """Tell about a finished step."""
        self.recent = loss if math.isnan(self.recent) else 0.98 * self.recent + 0.02 * loss
        self.bar.update(self.task, completed=done, total=end, loss=self.recent)
        seconds = time.monotonic() - self.start
        self.history.done, self.history.seconds = done, self.before + seconds
        plan = self.stage.plan
        if done % plan.show_every and done != end:
            return
        self._print(done, end, averages, is_judged=done % (5 * plan.show_every) == 0 or done == end)

    def tell(self, done: int, share: float, loss: float, averages: Mapping[str, nn.Module]) -> None:
        """Tell about the steps of a stage that goes by the clock: a line for each hundredth."""
        if not math.isnan(loss):
            self.recent = loss if math.isnan(self.recent) else 0.7 * self.recent + 0.3 * loss
        seconds = time.monotonic() - self.start
        self.history.done, self.history.seconds = done, self.before + seconds
        end = done if share >= 1 else max(done + 1, round(done / max(share, 1e-6)))
        self.bar.update(self.task, completed=done, total=end, loss=self.recent)
        if share < 1 and share < self.told + 0.02:
            return
        is_judged = share >= 1 or (share >= 0.5 > self.told)
        self.told = share
        self._print(done, end, averages, is_judged=is_judged)

    def _print(
        self, done: int, end: int, averages: Mapping[str, nn.Module], *, is_judged: bool
    ) -> None:
        seconds = time.monotonic() - self.start
        self.history.losses.append((done, self.recent))
        judged = ""
        if self.stage.measure and is_judged:
            with torch.no_grad():
                judged = "  " + self.stage.measure(averages, done)
        pace = seconds / (done - self.first)
        left = pace * (end - done) / 60
        line = (
            f"{self.stage.name} {done}/{end}  loss {self.recent:.4f}  "
            f"{pace:.3f} s/step  {left:.1f} min left{judged}"
        )
        self.bar.console.print(line, highlight=False, soft_wrap=True)
