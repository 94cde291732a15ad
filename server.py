"""The server: ComfyUI's HTTP and WebSocket API over the engine. `latentloom serve` is the same."""

from __future__ import annotations

import sys

from engine.registry import Registry
from web.serving import main


def registry() -> Registry:
    """The installed nodes: ours, and those of installed packs."""
    return Registry.from_package("nodes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], registry))
