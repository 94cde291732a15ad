"""Ctrl-C while a graph runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from latentloom.engine.node.cancel import CancelToken

CANCELLING = b"\ncancelling after the current node step; Ctrl-C again stops at once\n"
SHOW_CURSOR = b"\x1b[?25h"
STOPPED = 130


@contextmanager
def interrupts(token: CancelToken) -> Iterator[None]:
    """Cancel the run on Ctrl-C; a second one ends the process.

    It does not raise, since the end of a run, and of Python, waits for a node that does not stop.
    """

    def stop(_signal: int, _frame: object) -> None:
        if token.is_set():
            if os.isatty(2):
                os.write(2, SHOW_CURSOR)
            os._exit(STOPPED)
        token.cancel()
        # Not by print, which the signal may have come in the middle of.
        os.write(2, CANCELLING)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
