"""The last lines of the log, for the editor's console panel. They hold no requests or tokens."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MAX_LINES = 300


class LogTail(logging.Handler):
    """Keeps the last lines and passes new ones to the subscribers."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.lines: deque[dict[str, str]] = deque(maxlen=MAX_LINES)
        self.subscribers: set[str] = set()
        self.on_line: Callable[[str, dict[str, Any]], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Store one record."""
        line = {
            "t": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "m": self.format(record).splitlines()[0][:500] + "\n",
        }
        self.lines.append(line)
        if self.on_line is not None:
            for client in list(self.subscribers):
                self.on_line(client, {"entries": [line]})

    def text(self) -> str:
        """Return all lines as one string."""
        return "".join(f"{line['t']} {line['m']}" for line in self.lines)
