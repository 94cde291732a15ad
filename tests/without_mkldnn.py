"""A pytest plugin: torch computes without oneDNN."""

from __future__ import annotations

import torch

torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
