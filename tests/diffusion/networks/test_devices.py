"""Devices: work beside networks runs on one thread; precisions follow the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from latentloom.diffusion.networks import devices
from latentloom.engine.node.spec import NodeSpec, Output
from latentloom.nodes.codecs import share_threads


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(devices, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(devices, "THREADS", 3)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_work_beside_networks_has_one_thread_and_restores_the_others() -> None:
    with devices.use_one_thread(), devices.use_one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(ValueError, match="stop"), devices.use_one_thread():
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_with_a_gpu_all_threads_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device", lambda: torch.device("cuda"))
    with devices.use_one_thread():
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_thread_that_started_with_one_gets_all() -> None:
    def inside() -> tuple[int, int]:
        before = torch.get_num_threads()
        with devices.use_all_threads():
            return before, torch.get_num_threads()

    with devices.use_one_thread(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == (1, 3)
        assert torch.get_num_threads() == 1


def counting(name: str, device: bool, kind: str) -> NodeSpec:
    def run() -> None:
        raise NotImplementedError

    return NodeSpec(name, "test", run, (), (Output("x", kind),), device=device)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("device", "kind", "threads"),
    [(True, "LATENT", 3), (False, "IMAGE", 1), (False, "INT", 3)],
)
def test_nodes_share_the_threads_by_their_kind(device: bool, kind: str, threads: int) -> None:
    with share_threads(counting(f"Counting{kind}", device, kind)):
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("device", "native", "network", "autoencoder", "overflowing"),
    [
        ("cpu", False, torch.float32, torch.float32, torch.float32),
        ("cuda", True, torch.float16, torch.float16, torch.bfloat16),
        ("cuda", False, torch.float16, torch.float16, torch.float32),
        ("mps", False, torch.float16, torch.float32, torch.float32),
    ],
)
def test_precisions_follow_the_device(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    native: bool,
    network: torch.dtype,
    autoencoder: torch.dtype,
    overflowing: torch.dtype,
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(devices, "device", lambda: torch.device(device))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert (devices.network_dtype(), devices.vae_dtype()) == (network, autoencoder)
    assert devices.wide_dtype() == overflowing
