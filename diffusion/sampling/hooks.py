"""Hooks of the caller of sampling, which may raise to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def _no_step(_step: int, _total: int, _denoised: Tensor) -> None:
    return None


def _no_call() -> None:
    return None


def _no_note(_name: str, _value: Any) -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """Functions that sampling calls, in its own thread.

    Attributes:
        on_step: (steps done, steps in total, D of this step in scaled latent space).
        on_call: called before each evaluation of the denoising network.
        note: called before the first step with plain values: `sigmas`, those to run through, and
            `dtype` and `device` of the network.
    """

    on_step: Callable[[int, int, Tensor], None] = _no_step
    on_call: Callable[[], None] = _no_call
    note: Callable[[str, Any], None] = _no_note


SILENT = Hooks()
