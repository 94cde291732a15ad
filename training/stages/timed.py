"""A stage on a GPU, or within a fixed time: no step waits for the host.

Batches and random numbers come from the device, and on a GPU a whole step is one CUDA graph. The
rate and the size of the crops follow the clock where a stage has so many seconds, so that a run
ends in time on whatever machine; it is not repeatable to the bit then.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.stages.finished import save_finished
from training.stages.muon import MOMENTUM, SCALE, is_hidden, orthogonal_all
from training.stages.stage import History, Report, Stage, generator_at, half_precision

if TYPE_CHECKING:
    from pathlib import Path

BETAS, EPSILON = (0.9, 0.99), 1e-8
# The loss is fetched every so many steps; in between nothing waits for the device.
FETCH = 20
# So many steps run before their launches are recorded.
REHEARSALS = 3


def train_timed(stage: Stage, folder: Path) -> dict[str, nn.Module]:
    """Train a stage's modules in place for its seconds, or its steps; return their averages."""
    averages = {name: copy.deepcopy(module).eval() for name, module in stage.modules.items()}
    history, work, plan = History(), Work(stage, averages), stage.plan
    start = saved = time.monotonic()
    with Report(stage, history) as report:
        done, share = 0, 0.0
        while share < 1:
            work.rate.fill_(rate_of(stage, done, share))
            work.follow.fill_(1 - min(plan.average, (2 + done) / (11 + done)))
            work.run(stage.alike(done, share))
            done += 1
            if done % FETCH == 0:
                report.tell(done, share, work.fetch(), averages)
            now = time.monotonic()
            share = (now - start) / plan.seconds if plan.seconds else done / plan.steps
            if plan.snapshots and now - saved > plan.snapshots and done % FETCH == 0:
                saved = now
                save_finished(folder, stage.name, averages, history, stage.copies)
        report.tell(done, 1.0, work.fetch(), averages)
    if work.skipped:
        print(f"{stage.name}: {work.skipped} of {done} steps had no finite gradient and were left")
    (folder / f"{stage.name}.history.json").write_text(json.dumps(asdict(history)))
    return averages


def rate_of(stage: Stage, done: int, share: float) -> float:
    """The learning rate: warm-up by steps, then flat, then a cosine, by the share that is done."""
    plan = stage.plan
    warm = min(1.0, (done + 1) / max(1, plan.warmup))
    fall = plan.fall / plan.steps
    if share <= 1 - fall:
        return plan.rate * warm
    left = 0.5 * (1 - math.cos(math.pi * max(0.0, 1 - share) / fall))
    return plan.rate * warm * (plan.floor + (1 - plan.floor) * left)


class Work:
    """The steps of a stage, on a GPU as one graph for each shape of the batch."""

    def __init__(self, stage: Stage, averages: Mapping[str, nn.Module]) -> None:
        pairs = [
            (parameter, average)
            for name, module in stage.modules.items()
            for parameter, average in zip(
                module.parameters(), averages[name].parameters(), strict=True
            )
            if parameter.requires_grad
        ]
        self.stage = stage
        self.parameters: list[Tensor] = [parameter for parameter, _ in pairs]
        self.averages: list[Tensor] = [average.detach() for _, average in pairs]
        self.device = self.parameters[0].device
        self.rate, self.follow, self.loss = (torch.zeros((), device=self.device) for _ in range(3))
        self.good = torch.zeros((), device=self.device)
        self.steps = self.before = self.skipped = 0
        self.generator: torch.Generator | None = None
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.records = self.device.type == "cuda"
        if self.records:
            torch.cuda.manual_seed(stage.seed)
        else:
            self.generator = generator_at(stage.seed, 0)
        self.updates = _updates(stage)

    def run(self, like: int) -> None:
        """One step, computed as the step of a number is."""
        self.steps += 1
        if self.records and like not in self.graphs:
            self._record(like)
        if like in self.graphs:
            self.graphs[like].replay()
        else:
            self._step(like)

    def fetch(self) -> float:
        """The mean loss since the last call."""
        loss, good = float(self.loss), float(self.good)
        self.skipped += round(self.steps - self.before - good)
        self.before = self.steps
        self.loss.zero_()
        self.good.zero_()
        return loss / good if good else math.nan

    def _record(self, like: int) -> None:
        """Record a step as a graph; without one, go on as before."""
        begin = time.monotonic()
        try:
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(REHEARSALS):
                    self._step(like)
            torch.cuda.current_stream().wait_stream(stream)
            self.steps += REHEARSALS
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step(like)
            self.graphs[like] = graph
            seconds = time.monotonic() - begin
            print(f"{self.stage.name}: recorded a step like {like} in {seconds:.1f} s", flush=True)
        except Exception as error:  # noqa: BLE001
            # Whatever cannot be recorded can still be computed, launch by launch.
            self.records = False
            torch.cuda.synchronize()
            self.generator = torch.Generator(self.device).manual_seed(self.stage.seed)
            print(f"{self.stage.name}: not recorded: {error!r}"[:2000], flush=True)

    def _step(self, like: int) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        with half_precision(self.device.type, self.stage.half, cache=False):
            loss = self.stage.loss(like, self.generator)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            good = torch.ones_like(self.good)
            for update in self.updates:
                good = good * update.step(self.rate)
            self.good.add_(good)
            self.loss.add_(torch.where(good > 0, loss.detach().float(), 0.0))
            ahead = torch._foreach_sub(self.parameters, self.averages)
            torch._foreach_mul_(ahead, self.follow)
            torch._foreach_add_(self.averages, ahead)


class AdamUpdate:
    """AdamW of a group of parameters; a step without a finite gradient changes nothing."""

    def __init__(self, parameters: list[Tensor], factor: float, decay: float) -> None:
        self.parameters, self.factor, self.decay = parameters, factor, decay
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.counts = [torch.zeros((), device=p.device) for p in parameters]

    def step(self, rate: Tensor) -> Tensor:
        """Move the parameters; return 1, or 0 if they stayed."""
        gradients = [gradient_of(p) for p in self.parameters]
        norm = _norm(gradients)
        bad = (~torch.isfinite(norm)).float()
        torch._foreach_add_(self.counts, 1 - bad)
        torch._fused_adamw_(
            self.parameters,
            gradients,
            self.first,
            self.second,
            [],
            self.counts,
            lr=rate * self.factor,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            grad_scale=norm.clamp(min=1.0),
            found_inf=bad,
        )
        return 1 - bad


class MuonUpdate:
    """Muon of a group of parameters, those of similar shapes together.

    A matrix gets rows and columns of zeros up to a common size: its orthogonal step has them too.
    """

    def __init__(self, parameters: list[Tensor], factor: float, decay: float) -> None:
        self.parameters, self.factor, self.decay = parameters, factor, decay
        self.sizes = [_matrix(p).shape for p in parameters]
        sets: dict[int, list[int]] = {}
        for index, size in enumerate(self.sizes):
            sets.setdefault(math.ceil(math.log2(max(size))), []).append(index)
        self.stacks = []
        for indices in sets.values():
            low = max(min(self.sizes[i]) for i in indices)
            high = max(max(self.sizes[i]) for i in indices)
            momentum = torch.zeros(len(indices), low, high, device=parameters[0].device)
            self.stacks.append((indices, momentum))

    def step(self, rate: Tensor) -> Tensor:
        """Move the parameters; return 1, or 0 if there was no finite gradient."""
        gradients = [gradient_of(p) for p in self.parameters]
        norm = _norm(gradients)
        good, speed = torch.isfinite(norm), rate * self.factor
        factor = 1 / norm.clamp(min=1.0)
        torch._foreach_mul_(self.parameters, 1 - speed * self.decay)
        for indices, momentum in self.stacks:
            stack = torch.stack([_padded(_matrix(gradients[i]), momentum) for i in indices])
            stack = torch.where(good, stack * factor, 0.0)
            momentum.lerp_(stack, 1 - MOMENTUM)
            steps = orthogonal_all(torch.lerp(stack, momentum, MOMENTUM)) * speed
            for i, step in zip(indices, steps, strict=True):
                parameter, size = self.parameters[i], self.sizes[i]
                move = _unfolded(_cut(step, size), parameter)
                parameter.sub_(move, alpha=SCALE * max(size) ** 0.5)
        return good.float()


def gradient_of(parameter: Tensor) -> Tensor:
    """The gradient, in the parameter's layout."""
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter)
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _norm(gradients: list[Tensor]) -> Tensor:
    norms = torch.stack(torch._foreach_norm(gradients))
    total: Tensor = torch.linalg.vector_norm(norms)
    return total


def _matrix(gradient: Tensor) -> Tensor:
    """One row for each output; columns in the order of the memory of channels_last."""
    return (gradient.permute(0, 2, 3, 1) if gradient.ndim == 4 else gradient).flatten(1)


def _padded(matrix: Tensor, like: Tensor) -> Tensor:
    """A matrix, turned if it is high, with zeros up to the size of those of a stack."""
    width = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    low, high = like.shape[1:]
    return nn.functional.pad(width, (0, high - width.shape[1], 0, low - width.shape[0]))


def _cut(width: Tensor, size: torch.Size) -> Tensor:
    """The opposite of padding."""
    cut = width[: min(size), : max(size)]
    return cut if size[0] <= size[1] else cut.T


def _unfolded(matrix: Tensor, parameter: Tensor) -> Tensor:
    if parameter.ndim != 4:
        return matrix.reshape(parameter.shape)
    outputs, inputs, height, width = parameter.shape
    return matrix.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)


def _updates(stage: Stage) -> list[AdamUpdate | MuonUpdate]:
    """The same groups as of a stage that goes by steps."""
    groups: dict[tuple[str, float, bool], list[Tensor]] = {}
    for module, network in stage.modules.items():
        for path, parameter in network.named_parameters():
            if parameter.requires_grad:
                by_muon = bool(stage.plan.muon) and is_hidden(path, parameter)
                faster: Iterable[float] = (f for part, f in stage.faster.items() if part in path)
                factor = next(iter(faster), 1.0) * (stage.plan.muon if by_muon else 1.0)
                groups.setdefault((module, factor, by_muon), []).append(parameter)
    decay = stage.plan.weight_decay
    return [
        (MuonUpdate if by_muon else AdamUpdate)(parameters, factor, decay)
        for (_, factor, by_muon), parameters in groups.items()
    ]
