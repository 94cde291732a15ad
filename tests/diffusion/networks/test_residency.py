"""Residency: counted moves of fakes, and real networks unloaded and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError, OutOfMemoryError, SettingError
from latentloom.diffusion.latents.latents import make_empty
from latentloom.diffusion.networks import devices
from latentloom.diffusion.networks import residency as module
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.diffusion.networks.residency import (
    Residency,
    device_budget_bytes,
    move_partly_to_device,
    retry_when_out_of_memory,
)
from latentloom.diffusion.networks.vae import decode
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.tiny_model import write_tiny_model

GPU = torch.device("cuda")


class FakeWeights:
    """Weights of a given size that log their moves."""

    def __init__(self, name: str, nbytes: int, log: list[str], device: torch.device = GPU) -> None:
        self.name, self.nbytes, self.log, self.device = name, nbytes, log, device
        self.is_loaded, self.can_reload, self.is_too_large = True, True, False

    def load(self) -> None:
        self.log.append(f"load {self.name}")
        self.is_loaded = True

    def unload(self) -> None:
        self.log.append(f"unload {self.name}")
        self.is_loaded = False

    def move_to_device(self, budget_bytes: int) -> int:
        self.log.append(f"move {self.name}")
        if self.is_too_large:
            raise torch.OutOfMemoryError("too little")
        return min(budget_bytes, self.nbytes)

    def offload(self) -> None:
        self.log.append(f"offload {self.name}")


def use(residency: Residency, *fakes: FakeWeights) -> None:
    for fake in fakes:
        with residency.use(fake):
            pass


def test_weights_that_fit_are_moved_once_and_stay() -> None:
    log: list[str] = []
    residency = Residency(lambda: 100, 1000)
    first, second = FakeWeights("a", 40, log), FakeWeights("b", 60, log)
    use(residency, first, second, first, second)
    assert log == ["move a", "move b"]


def test_the_least_recently_used_is_offloaded() -> None:
    log: list[str] = []
    residency = Residency(lambda: 100, 1000)
    first, second, third = (FakeWeights(name, 40, log) for name in "abc")
    use(residency, first, second, first, third)
    assert log == ["move a", "move b", "offload b", "move c"]


def test_weights_in_use_stay_when_memory_is_short() -> None:
    log: list[str] = []
    residency = Residency(lambda: 100, 1000)
    first, second = FakeWeights("a", 80, log), FakeWeights("b", 80, log)
    with residency.use(first), residency.use(second):
        assert log == ["move a", "move b"]
    residency.clear_device()
    assert sorted(log[2:]) == ["offload a", "offload b"]


def test_weights_that_fail_to_move_are_offloaded_and_can_be_offloaded_later() -> None:
    log: list[str] = []
    residency = Residency(lambda: 100, 1000)
    first, second = FakeWeights("a", 80, log), FakeWeights("b", 80, log)
    first.is_too_large = True
    with pytest.raises(torch.OutOfMemoryError), residency.use(first):
        pass
    first.is_too_large = False
    use(residency, first, second)
    assert log == ["move a", "offload a", "move a", "offload a", "move b"]


def test_weights_over_the_memory_budget_are_unloaded() -> None:
    log: list[str] = []
    residency = Residency(lambda: 0, 100)
    first, second = (FakeWeights(name, 60, log, torch.device("cpu")) for name in "ab")
    use(residency, first, second, first)
    assert log == ["unload a", "load a", "unload b"]


def test_weights_without_a_file_are_not_unloaded() -> None:
    log: list[str] = []
    residency = Residency(lambda: 0, 10)
    first, second = (FakeWeights(name, 60, log, torch.device("cpu")) for name in "ab")
    first.can_reload = False
    use(residency, first, second)
    assert log == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit memory to one network at a time."""
    tight = Residency(lambda: 2**62, 1)
    for name in (
        "latentloom.diffusion.networks.weights",
        "latentloom.diffusion.networks.network_files",
        "latentloom.diffusion.networks.residency",
    ):
        monkeypatch.setattr(f"{name}.residency", lambda: tight)


def test_unloaded_networks_give_the_same_image(small: None, tmp_path: Path) -> None:
    def image() -> torch.Tensor:
        model = load_checkpoint(write_tiny_model(tmp_path / "model", seed=77))
        positive, negative = encode_text(model.clip, "a fox"), encode_text(model.clip, "")
        plan = SamplePlan(1, 2, 4.0, "euler", "normal")
        latent = sample(model.model, make_empty(64, 64), positive, negative, plan)
        pixels = decode(model.vae, latent)
        loaded = [model.clip.weights, model.model.weights, model.vae.weights]
        assert [weights.is_loaded for weights in loaded] == [False, False, True]
        return pixels

    assert torch.equal(image(), image())


def test_a_file_that_changed_while_unloaded_is_rejected(small: None, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model", seed=78)
    model = load_checkpoint(folder)
    assert not model.clip.weights.is_loaded
    (folder / "text_encoder/config.json").write_text("{}")
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        encode_text(model.clip, "a fox")


def test_a_partly_moved_network_gives_the_same_and_stays_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    expected, before = network(x), [weight.data_ptr() for weight in network.parameters()]
    moved_bytes, hooks = move_partly_to_device(network, torch.device("cpu"), 4 * (4 * 8 + 8))
    assert moved_bytes == 4 * (4 * 8 + 8)
    assert len(hooks) == 4
    assert torch.equal(network(x), expected)
    assert [weight.data_ptr() for weight in network.parameters()] == before


def test_a_failed_partial_move_leaves_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    monkeypatch.setattr(module, "_move_on_call", fail_on_second())
    with pytest.raises(RuntimeError, match="too little"):
        move_partly_to_device(network, torch.device("cpu"), 0)
    assert [len(layer._forward_pre_hooks) for layer in network] == [0, 0]


def fail_on_second() -> Callable[..., object]:
    real, calls = module._move_on_call, []

    def on_call(layer: nn.Module, device: torch.device) -> object:
        calls.append(layer)
        if len(calls) == 2:
            raise RuntimeError("too little")
        return real(layer, device)

    return on_call


def fail(times: int) -> Callable[[], str]:
    left = [times]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")
        return "done"

    return work


def test_work_is_retried_once_when_out_of_memory() -> None:
    assert retry_when_out_of_memory(fail(0)) == "done"
    assert retry_when_out_of_memory(fail(1)) == "done"
    assert retry_when_out_of_memory(fail(1), lambda: "in pieces") == "in pieces"


def test_a_second_failure_is_a_typed_error_and_the_next_work_succeeds() -> None:
    with pytest.raises(OutOfMemoryError, match="Tried to allocate 9 GiB; use a smaller"):
        retry_when_out_of_memory(fail(2))
    assert retry_when_out_of_memory(fail(0)) == "done"


@pytest.mark.parametrize(
    ("vram", "reserve", "budget_gib"),
    [("", "", 7), ("4", "", 3), ("4", "2.5", 1.5), ("99", "0", 8)],
)
def test_the_budget_is_the_gpus_or_the_users(
    monkeypatch: pytest.MonkeyPatch, vram: str, reserve: str, budget_gib: float
) -> None:
    monkeypatch.setattr(devices, "device", lambda: GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 8 * module.GIB))
    monkeypatch.setenv(module.VRAM, vram)
    monkeypatch.setenv(module.RESERVE, reserve)
    assert device_budget_bytes() == int(budget_gib * module.GIB)


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", "1e99"])
def test_a_budget_that_is_not_a_number_of_gib_is_rejected(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(devices, "device", lambda: GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 8 * module.GIB))
    monkeypatch.setenv(module.VRAM, text)
    with pytest.raises(
        SettingError, match="LATENTLOOM_VRAM: expected a number of GiB, 0 or more, got"
    ):
        device_budget_bytes()
