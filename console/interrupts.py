"""Ctrl-C while a graph runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from latentloom.engine.node.cancel import CancelToken

CANCELLING = b"\ncancelling after the current node step\n"


@contextmanager
def interrupts(token: CancelToken) -> Iterator[None]:
    """Cancel the run on Ctrl-C; a second one exits as usual."""

    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        token.cancel()
        # Not by print, which the signal may have come in the middle of.
        os.write(2, CANCELLING)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
