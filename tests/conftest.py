"""Settings of every test: no hub, one torch thread, no disk cache, no deadlines."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LATENTLOOM_CACHE", "off")

# A busy machine must not fail a test.
settings.register_profile("latentloom", deadline=None)
settings.load_profile("latentloom")
