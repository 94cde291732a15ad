"""What sampling tells its caller, which may raise to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def _no_step(_step: int, _total: int, _denoised: Tensor) -> None:
    return None


def _no_call() -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """Called while sampling, in its thread.

    Attributes:
        on_step: (steps done, steps in all, D of this step in scaled latent space).
        on_call: before each evaluation of the denoising network.
    """

    on_step: Callable[[int, int, Tensor], None] = _no_step
    on_call: Callable[[], None] = _no_call


SILENT = Hooks()
