"""Captured calls: which inputs are copied, which captures stay, and what happens on failure."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.families.unet import ControlResiduals
from latentloom.diffusion.networks.fast.calls import FastCalls, Tools
from latentloom.diffusion.networks.fast.capture import (
    Capture,
    CapturedGraph,
    Captures,
    signature,
    tensors_in,
    with_tensors,
)
from tests.diffusion.networks.fast.networks import make_vae
from tests.diffusion.networks.fast.standins import Formulas, record, stand_ins

STRUCTURE = (
    torch.zeros(1), None, ControlResiduals((torch.ones(2), torch.ones(3)), torch.ones(4)),
)  # fmt: skip


def test_structures_give_and_take_their_tensors() -> None:
    sizes = [len(tensor) for tensor in tensors_in(STRUCTURE)]
    assert sizes == [1, 2, 3, 4]
    other = with_tensors(STRUCTURE, iter([tensor + 5 for tensor in tensors_in(STRUCTURE)]))
    assert isinstance(other[2], ControlResiduals)
    assert other[1] is None
    assert [float(tensor[0]) for tensor in tensors_in(other)] == [5, 6, 6, 6]


def test_a_signature_tells_shapes_types_and_missing_parts_apart() -> None:
    structures = [
        STRUCTURE,
        (torch.zeros(1), torch.zeros(1), STRUCTURE[2]),
        (torch.zeros(2), None, STRUCTURE[2]),
        (torch.zeros(1).half(), None, STRUCTURE[2]),
        (torch.zeros(1), None, None),
    ]
    assert len({signature(structure) for structure in structures}) == len(structures)
    assert signature(with_tensors(STRUCTURE, tensors_in(STRUCTURE))) == signature(STRUCTURE)


def add(x: Tensor, constant: Tensor) -> tuple[Tensor]:
    return (x + constant,)


def test_constants_are_copied_only_when_they_are_other_tensors() -> None:
    one, two = torch.ones(2), torch.full((2,), 2.0)
    capture = Capture(add, (one,), (one,), record)
    assert capture.replay((two,), (one,))[0].tolist() == [3, 3]
    one.fill_(100.0)  # nobody may do this; it shows that the tensor is not read again
    assert capture.replay((two,), (one,))[0].tolist() == [3, 3]
    assert capture.replay((two,), (two,))[0].tolist() == [4, 4]


def test_a_constant_in_the_memory_of_one_that_is_gone_is_copied() -> None:
    capture = Capture(add, (torch.zeros(2),), (torch.ones(2),), record)
    for value in range(5):
        constant = torch.full((2,), float(value))
        assert capture.replay((torch.zeros(2),), (constant,))[0].tolist() == [value, value]
        del constant


def test_the_least_recently_used_capture_goes() -> None:
    stored = Captures(limit=2)
    first, second, third = (
        Capture(add, (torch.ones(1),), (torch.ones(1),), record) for _ in range(3)
    )
    stored.add(1, "first", first)
    stored.add(1, "second", second)
    assert stored.find(1, "first") is first
    stored.add(2, "third", third)
    assert stored.find(1, "second") is None
    stored.drop(1)
    assert stored.find(1, "first") is None
    assert stored.find(2, "third") is third
    stored.clear()
    assert len(stored) == 0


def make_calls(tools: Tools) -> FastCalls:
    return FastCalls(make_vae(), tools)


def double(x: Tensor) -> tuple[Tensor]:
    return (x * 2,)


def run(calls: FastCalls, key: str = "double", value: float = 1.0) -> tuple[bool, float]:
    is_captured, (output,) = calls.run(key, double, (torch.full((1,), value),))
    return is_captured, float(output)


def test_the_second_call_of_a_kind_is_captured() -> None:
    calls = make_calls(stand_ins())
    results = [run(calls, value=value) for value in (1.0, 2.0, 3.0, 4.0)]
    assert results == [(False, 2.0), (False, 4.0), (True, 6.0), (True, 8.0)]
    assert run(calls, key="other") == (False, 2.0)


def failing(error: Exception) -> Callable[..., tuple[CapturedGraph, Sequence[Tensor]]]:
    def record_nothing(
        _work: Callable[[], Sequence[Tensor]],
    ) -> tuple[CapturedGraph, Sequence[Tensor]]:
        raise error

    return record_nothing


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no such operation\nwhile capturing"), "no such operation"),
        (torch.OutOfMemoryError("no memory"), "no memory for captured calls"),
    ],
)
def test_a_failed_capture_leaves_eager_calls(error: Exception, reason: str) -> None:
    calls = make_calls(Tools(Formulas(), failing(error), Captures()))
    assert [run(calls, value=value) for value in (1.0, 2.0, 3.0)] == [
        (False, 2.0), (False, 4.0), (False, 6.0),
    ]  # fmt: skip
    assert calls.failure is not None
    assert reason in calls.failure


def test_a_capture_that_gives_other_values_is_not_used() -> None:
    def wrong(work: Callable[[], Sequence[Tensor]]) -> tuple[CapturedGraph, Sequence[Tensor]]:
        graph, outputs = record(work)
        return graph, [output + 1 for output in outputs]

    calls = make_calls(Tools(Formulas(), wrong, Captures()))
    x = torch.tensor([1.0, 5.0])
    for _ in range(3):
        assert calls.run("double", double, (x,))[1][0].tolist() == [2, 10]
    assert calls.failure == "a captured call gave other values"


class Unchanging:
    """A graph that holds nothing."""

    def replay(self) -> None:
        """Leave the outputs as they are."""


def test_captures_go_with_their_network() -> None:
    def record_outputs(
        work: Callable[[], Sequence[Tensor]],
    ) -> tuple[CapturedGraph, Sequence[Tensor]]:
        return Unchanging(), work()

    tools = Tools(Formulas(), record_outputs, Captures())
    calls = make_calls(tools)
    run(calls)
    run(calls)
    assert len(tools.captures) == 1
    del calls
    gc.collect()
    assert len(tools.captures) == 0
