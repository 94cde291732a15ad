"""Small networks compute on one thread, and the number of threads comes back afterwards."""

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
