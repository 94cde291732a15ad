"""Where the repository is, so that tests may be moved."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
