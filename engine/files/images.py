"""The extensions of image files."""

from __future__ import annotations

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
