"""The standard streams of the command line."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Make writing to the standard streams safe.

    Characters that a terminal cannot encode are escaped. A stream that is closed, as some daemons
    leave it, becomes the null device; otherwise the next file opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest free number, thus the stream's own
            setattr(sys, name, os.fdopen(handle, "w" if number else "r", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
