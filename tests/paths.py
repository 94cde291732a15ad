"""The path of the repository, so that test files can be moved."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
