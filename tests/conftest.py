"""Settings every test runs under: no hub, one torch thread, no folder of kept results."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LATENTLOOM_CACHE", "off")
