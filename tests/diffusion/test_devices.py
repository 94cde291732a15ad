"""Small networks compute on one thread for as long as they do; precisions follow the device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from diffusion import devices


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(devices, "device", lambda: torch.device("cpu"))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_a_small_network_has_one_thread() -> None:
    with devices.computing(1000):
        assert torch.get_num_threads() == 1
        assert torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == 3


def test_a_large_network_has_them_all() -> None:
    with devices.computing(devices.SMALL_BYTES):
        assert torch.get_num_threads() == 3


def test_nested_use_and_errors_leave_the_number_as_it_was() -> None:
    with pytest.raises(ValueError, match="stop"), devices.computing(1), devices.computing(1):
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("device", "native", "network", "autoencoder"),
    [
        ("cpu", False, torch.float32, torch.float32),
        ("cuda", True, torch.float16, torch.bfloat16),
        ("cuda", False, torch.float16, torch.float32),
        ("mps", False, torch.float16, torch.float32),
    ],
)
def test_precisions_follow_the_device(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    native: bool,
    network: torch.dtype,
    autoencoder: torch.dtype,
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(devices, "device", lambda: torch.device(device))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert (devices.network_dtype(), devices.vae_dtype()) == (network, autoencoder)
